import ClusterModel
import Logging
internal import Glibc

/// Writes one line per log message to standard error, as text for people or as JSON for collectors.
///
/// Text: `2026-01-31T12:00:00.250Z warning job.start: the image is missing job=solver node=n1`. JSON: one object per line with
/// `time`, `level`, `message`, `source` and the metadata under `metadata`. Each line is a single `write(2)`, so lines of several
/// threads do not mix.
struct StructuredLogHandler: LogHandler {
    /// How a line looks.
    enum Format: String, Sendable, CaseIterable {
        case text
        case json
    }

    var metadata: Logger.Metadata = [:]
    var logLevel: Logger.Level
    private let label: String
    private let format: Format
    private let now: @Sendable () -> String

    /// Makes the handler of one logger; `now` gives the time of a line as RFC 3339.
    init(label: String, level: Logger.Level, format: Format, now: @escaping @Sendable () -> String) {
        self.label = label
        logLevel = level
        self.format = format
        self.now = now
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        var fields = metadata
        if let own = event.metadata {
            fields.merge(own) { _, new in new }
        }
        if let error = event.error {
            fields["error"] = "\(error)"
        }
        let sorted = fields.sorted { $0.key < $1.key }
        let line =
            switch format {
            case .text: textLine(level: event.level, message: event.message.description, fields: sorted)
            case .json: jsonLine(level: event.level, message: event.message.description, fields: sorted)
            }
        // A log that cannot be written has nowhere to complain to.
        let bytes = Array(line.utf8)
        _ = unsafe bytes.withUnsafeBytes { unsafe write(STDERR_FILENO, $0.baseAddress, $0.count) }
    }

    func textLine(level: Logger.Level, message: String, fields: [(key: String, value: Logger.MetadataValue)]) -> String
    {
        let pairs = fields.map { " \($0.key)=\(quotedIfNeeded($0.value.description))" }.joined()
        return "\(now()) \(level.rawValue) \(label): \(oneLine(message))\(pairs)\n"
    }

    func jsonLine(level: Logger.Level, message: String, fields: [(key: String, value: Logger.MetadataValue)]) -> String
    {
        let pairs = fields.map { "\(jsonString($0.key)):\(jsonString($0.value.description))" }.joined(separator: ",")
        return #"{"time":\#(jsonString(now())),"level":"\#(level.rawValue)","source":\#(jsonString(label)),"#
            + #""message":\#(jsonString(message)),"metadata":{\#(pairs)}}"# + "\n"
    }

    private func oneLine(_ text: String) -> String {
        String(text.map { $0.isNewline ? " " : $0 })
    }

    private func quotedIfNeeded(_ text: String) -> String {
        text.isEmpty || text.contains { $0 == " " || $0 == "\"" || $0 == "=" || $0.isNewline } ? jsonString(text) : text
    }
}
