import ArgumentParser
import ClusterModel

/// How answers are printed.
enum OutputFormat: String, ExpressibleByArgument, CaseIterable, Sendable {
    /// For people.
    case table
    /// For programs: the proto3 JSON mapping of the messages in proto/control.proto.
    case json
}

/// When colours are used.
enum ColorChoice: String, ExpressibleByArgument, CaseIterable, Sendable {
    /// On a terminal, unless NO_COLOR is set.
    case auto
    case always, never
}

/// How to print.
struct OutputOptions: ParsableArguments {
    @Option(
        name: [.customShort("o"), .long],
        help: ArgumentHelp("Print a table for people, or JSON for programs.", valueName: "format")
    )
    var output: OutputFormat = .table

    @Option(help: ArgumentHelp("Use colours.", valueName: "when"))
    var color: ColorChoice = .auto

    /// How text looks on the given channel.
    func presentation(on channel: OutputChannel, in surroundings: Surroundings) -> Presentation {
        let wantsColor =
            switch color {
            case .always: true
            case .never: false
            case .auto:
                channel.isTerminal && surroundings.environment("NO_COLOR", orEmpty: true).isEmpty
                    && surroundings.environment("TERM") != "dumb"
            }
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].lazy.map { surroundings.environment($0, orEmpty: true) }
            .first { !$0.isEmpty }
        let upper = (locale ?? "").uppercased()
        return Presentation(
            usesColor: wantsColor,
            usesUnicode: upper.hasSuffix("UTF-8") || upper.hasSuffix("UTF8"),
            width: channel.width,
            now: surroundings.now(),
            calendar: surroundings.calendar
        )
    }
}

extension Surroundings {
    fileprivate func environment(_ name: String, orEmpty: Bool) -> String { environment(name) ?? "" }
}

/// Whom to ask, as whom, and how to print the answer.
struct ClusterOptions: ParsableArguments {
    @Option(
        name: .customLong("agent"),
        help: ArgumentHelp(
            """
            Ask this agent; may be repeated, the first that answers is taken. Default: GODWIT_AGENT, then the lines of \
            ~/.config/godwit/agent, then 127.0.0.1:7420.
            """,
            valueName: "host:port"
        )
    )
    var agents: [String] = []

    @Option(
        help: ArgumentHelp(
            "Certificate, key and authority in one PEM file. Default: GODWIT_IDENTITY, then ~/.config/godwit/identity.pem.",
            valueName: "file"
        ),
        completion: .file()
    )
    var identity: String?

    @Option(
        help: ArgumentHelp(
            "The longest a request may take, such as 5s or 2min. Default: 30s; 15min for checkpoint and restore.",
            valueName: "duration"
        ),
        transform: parseDuration
    )
    var timeout: Duration?

    @OptionGroup var outputOptions: OutputOptions

    /// Opens a connection, hands it over, and closes it whatever happens.
    func withConnection<Result>(
        in surroundings: Surroundings,
        _ body: (any AgentConnection) async throws -> Result
    ) async throws -> Result {
        let request = ConnectionRequest(agents: agents, identity: identity, timeout: timeout)
        let connection = try await surroundings.connect(request)
        do {
            let result = try await body(connection)
            await connection.close()
            return result
        } catch {
            await connection.close()
            throw error
        }
    }
}

/// Why an argument is not what it should be.
struct ArgumentProblem: Error, CustomStringConvertible, Equatable {
    let description: String
}

/// Reads `250ms`, `10s`, `1h30min`; a bare number is refused because its unit would be a guess.
func parseDuration(_ text: String) throws -> Duration {
    let problem = ArgumentProblem(
        description: "write a number and a unit: 250ms, 10s, 5min, 2h, 1d, or a sum like 1h30min"
    )
    var total = 0.0
    var rest = text[...]
    guard !rest.isEmpty else { throw problem }
    while !rest.isEmpty {
        let digits = rest.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
        rest = rest.dropFirst(digits.count)
        let unit = rest.prefix { $0.isLetter }
        rest = rest.dropFirst(unit.count)
        guard let number = Double(digits) else { throw problem }
        switch unit {
        case "ms": total += number / 1000
        case "s": total += number
        case "m", "min": total += number * 60
        case "h": total += number * 3600
        case "d": total += number * 86400
        default: throw problem
        }
    }
    guard total.isFinite, total < 1e9 else { throw ArgumentProblem(description: "longer than 30 years") }
    return .nanoseconds(Int64((total * 1e9).rounded()))
}

/// Reads a positive number of vCPUs.
func parseVCPUs(_ text: String) throws -> Double {
    guard let value = Double(text), value.isFinite, value >= 0.01, value <= 4096 else {
        throw ArgumentProblem(description: "write a number of vCPUs from 0.01 to 4096, for example 1.5")
    }
    return value
}

/// Reads a number of vCPUs or `none`, which is nil.
func parseVCPULimit(_ text: String) throws -> VCPULimit {
    if text == "none" { return .none }
    do { return .vcpus(try parseVCPUs(text)) } catch {
        throw ArgumentProblem(description: "write a number of vCPUs from 0.01 to 4096, or none")
    }
}

/// A hard ceiling, or that there is none.
enum VCPULimit: Sendable, Equatable {
    case none
    case vcpus(Double)
}

/// Reads `512MiB`, `1.5GiB`; decimal units (`2GB`) are understood, a bare number is refused.
func parseMemory(_ text: String) throws -> ByteCount {
    let problem = ArgumentProblem(description: "write an amount with its unit, for example 512MiB or 2GiB")
    let digits = text.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
    let factors: [String: Double] = [
        "B": 1, "KiB": 0x1p10, "MiB": 0x1p20, "GiB": 0x1p30, "TiB": 0x1p40, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9,
        "TB": 1e12,
    ]
    guard let number = Double(digits), let factor = factors[trimmed(String(text.dropFirst(digits.count)))] else {
        throw problem
    }
    let bytes = (number * factor).rounded()
    guard bytes >= 1, bytes < 0x1p60 else { throw problem }
    return .bytes(Int64(bytes))
}

/// The text without spaces at its ends.
func trimmed(_ text: String) -> String {
    let start = text.drop { $0.isWhitespace }
    return String(start.reversed().drop { $0.isWhitespace }.reversed())
}
