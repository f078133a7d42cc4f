import ClusterModel
import FoundationEssentials
import Glibc
import LinuxSystem
import ResourceSamples

/// What one benchmark brought, for the table and for the file.
struct BenchmarkReport: Sendable, Encodable {
    var benchmark: String
    /// Share of the machine's processors that other work used in the second before, 0...1.
    var busyBefore: Double
    var seconds: Double
    var rows: [BenchmarkRow]
    /// Why there are no rows.
    var failure: String?

    /// A table for people.
    var text: String {
        var text =
            "\n\(benchmark) (\(figure(seconds)) s, other work used \(figure(busyBefore * 100)) % of the processors before)\n"
        if let failure { return text + "  FAILED: \(failure)\n" }
        let names = rows.map { "\($0.name) [\($0.unit)]" }
        let widths = [names.map(\.count).max() ?? 0, 10, 10, 6, 14, 7]
        text += Self.line(["", "ours", "peer", "ratio", "goal", "verdict"], widths)
        for (name, row) in zip(names, rows) {
            text += Self.line(
                [
                    name, figure(row.ours), row.peer.map(figure) ?? "-",
                    row.ratio.map { $0.text(decimals: 2) } ?? "-", row.goal?.description ?? "-", row.verdict,
                ],
                widths
            )
        }
        return text
    }

    private static func line(_ cells: [String], _ widths: [Int]) -> String {
        var line = " "
        for (index, (cell, width)) in zip(cells, widths).enumerated() {
            let padding = String(repeating: " ", count: max(0, width - cell.count))
            line += " " + (index == 0 || index >= 4 ? cell + padding : padding + cell)
        }
        while line.last == " " { line.removeLast() }
        return line + "\n"
    }
}

/// All of a run, for the file.
struct BenchmarkRecord: Encodable {
    var time: String
    var kernel: String
    var processor: String
    var processors: Int
    var loadAtStart: Double
    var rounds: Int
    var reports: [BenchmarkReport]

    func write(to path: String) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        try FileSystem.writeAtomically(Array(try encoder.encode(self)) + [UInt8(ascii: "\n")], to: path)
    }
}

/// How much other work disturbs the figures.
enum MachineLoad {
    /// Above this part of the processors, figures are not worth keeping.
    static let tolerable = 0.05

    /// The part of all processors that is used now, 0...1, while this program sleeps.
    static func busy(for time: Duration = .seconds(1)) async throws -> Double {
        let before = try Machine.processors().all
        try await Task.sleep(for: time)
        let after = try Machine.processors().all
        return after.utilization(since: before)
    }
}

/// A number as people read it: three or four significant digits, large ones grouped.
func figure(_ value: Double) -> String {
    guard value.isFinite else { return "?" }
    let size = abs(value)
    if size >= 10_000 {
        var digits = String(Int(value.rounded()))
        var position = digits.count - 3
        while position > (value < 0 ? 1 : 0) {
            digits.insert(" ", at: digits.index(digits.startIndex, offsetBy: position))
            position -= 3
        }
        return digits
    }
    if size >= 100 || value == value.rounded() { return value.text(decimals: 0) }
    return value.text(decimals: size >= 10 ? 1 : size >= 0.1 ? 2 : 4)
}

/// Prints at once, whatever comes after.
func say(_ text: String) {
    var bytes = Array(text.utf8)[...]
    while !bytes.isEmpty {
        let count = unsafe bytes.withUnsafeBytes { unsafe write(STDOUT_FILENO, $0.baseAddress, $0.count) }
        guard count > 0 else { return }
        bytes = bytes.dropFirst(count)
    }
}
