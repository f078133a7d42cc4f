import FoundationEssentials

/// Prints rows under headings; the first column is flush left, the others flush right.
func printTable(_ headings: [String], _ rows: [[String]]) {
    let widths = headings.indices.map { column in
        ([headings] + rows).map { $0[column].count }.max() ?? 0
    }
    for row in [headings] + rows {
        let cells = row.enumerated().map { column, cell in
            let blank = String(repeating: " ", count: widths[column] - cell.count)
            return column == 0 ? cell + blank : blank + cell
        }
        var line = cells.joined(separator: "  ")
        while line.last == " " { line.removeLast() }
        print(line)
    }
}

/// Prints a value as JSON with sorted keys.
func printJSON(_ value: some Encodable) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
    encoder.nonConformingFloatEncodingStrategy = .convertToString(
        positiveInfinity: "never",
        negativeInfinity: "-never",
        nan: "nan"
    )
    print(String(decoding: try encoder.encode(value), as: UTF8.self))
}
