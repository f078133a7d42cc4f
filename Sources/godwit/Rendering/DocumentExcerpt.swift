import ControlMessages

/// A document's problems, each with the offending line and a mark below the place.
///
///     job.yaml:7:3: resources.memroy: unknown key; did you mean memory?
///         7 |   memroy: 1GiB
///           |   ^
func documentExcerpt(
    _ problems: [WireDocumentProblem],
    name: String,
    content: [UInt8],
    style: Presentation
) -> String {
    let lines = content.split(separator: 0x0A, omittingEmptySubsequences: false)
    var text = ""
    for problem in problems {
        let path = problem.path.isEmpty ? "" : "\(printable(problem.path)): "
        guard problem.line > 0 else {
            text += style.paint("\(printable(name)):", .strong) + " \(path)\(oneLine(problem.message))\n"
            continue
        }
        let place = "\(printable(name)):\(problem.line):\(max(1, problem.column)):"
        text += style.paint(place, .strong) + " \(path)\(oneLine(problem.message))\n"
        guard Int(problem.line) <= lines.count else { continue }
        // Tabs become one space each, so that the mark stands below its character.
        let line = printable(String(decoding: lines[Int(problem.line) - 1], as: UTF8.self))
        let number = String(problem.line)
        let margin = max(5, number.count + 1)
        let offset = min(Int(max(1, problem.column)) - 1, line.count)
        let (shown, mark) = window(of: line, around: offset, room: style.width.map { max(20, $0 - margin - 4) })
        let padding = String(repeating: " ", count: margin - number.count)
        text += "\(padding)\(style.paint(number, .faint)) | \(shown)\n"
        text += String(repeating: " ", count: margin + 1) + "| " + String(repeating: " ", count: mark)
        text += style.paint("^", .bad) + "\n"
    }
    return text
}

/// The part of a long line that holds the place, and where in it the place is.
private func window(of line: String, around offset: Int, room: Int?) -> (String, Int) {
    guard let room, line.count > room else { return (line.trimmedEnd, columns(of: String(line.prefix(offset)))) }
    let start = max(0, min(offset - room / 2, line.count - room))
    let shown = String(line.dropFirst(start).prefix(room))
    return (shown.trimmedEnd, columns(of: String(shown.prefix(offset - start))))
}

extension String {
    fileprivate var trimmedEnd: String { String(reversed().drop { $0 == " " || $0 == "\u{FFFD}" }.reversed()) }
}
