import ClusterModel

/// Collects the elements of an SVG document.
struct SVGCanvas {
    private let width: Double
    private let height: Double
    private let title: String
    private let summary: String
    private var elements: [String] = []

    init(width: Double, height: Double, title: String, summary: String) {
        (self.width, self.height, self.title, self.summary) = (width, height, title, summary)
    }

    /// Colours are chosen to be told apart by colour-blind readers (Okabe and Ito) and to hold a contrast of 4.5 to 1 as text.
    private static let styleSheet = """
        text { font-family: system-ui, "DejaVu Sans", "Helvetica Neue", Arial, sans-serif; font-size: 12px; fill: #24292f; }
        .background { fill: #ffffff; }
        .title { font-size: 20px; font-weight: 600; }
        .subtitle { font-size: 13px; fill: #57606a; }
        .axis, .tick, .time { fill: #57606a; }
        .time, .tick { font-variant-numeric: tabular-nums; }
        .grid { stroke: #d8dee4; stroke-width: 1; fill: none; }
        .frame { stroke: #8c959f; stroke-width: 1; fill: none; }
        .consumed { stroke: #0068a8; stroke-width: 2.5; fill: none; stroke-linejoin: round; }
        .desired { stroke: #b35900; stroke-width: 2; fill: none; stroke-dasharray: 7 4; }
        .allocation { stroke: #00784f; stroke-width: 2.5; fill: none; }
        .usage { stroke: #8250df; stroke-width: 1.2; fill: none; }
        .usage-area { fill: #8250df; fill-opacity: 0.16; stroke: none; }
        .deadline { stroke: #cf222e; stroke-width: 2; fill: none; }
        .deadline-label { fill: #cf222e; font-weight: 600; }
        .end { stroke: #57606a; stroke-width: 1.5; fill: none; stroke-dasharray: 2 3; }
        .end-label { fill: #57606a; }
        .band-checkpoint { fill: #d4a72c; fill-opacity: 0.5; }
        .band-pause { fill: #6e7781; fill-opacity: 0.2; }
        .mark-line { stroke: #8c959f; stroke-width: 0.7; fill: none; stroke-dasharray: 1 3; }
        .mark { stroke: #ffffff; stroke-width: 1.5; }
        .mark-text { fill: #ffffff; font-size: 10px; font-weight: 600; }
        .plain { fill: #57606a; }
        .good { fill: #1a7f37; }
        .notice { fill: #0969da; }
        .warning { fill: #9a6700; }
        .bad { fill: #cf222e; }
        """

    private static let darkStyleSheet = """
        text { fill: #e6edf3; }
        .background { fill: #0d1117; }
        .subtitle, .axis, .tick, .time { fill: #9da7b3; }
        .grid { stroke: #262d36; }
        .frame { stroke: #6e7681; }
        .consumed { stroke: #56b4e9; }
        .desired { stroke: #e69f00; }
        .allocation { stroke: #2dc08d; }
        .usage { stroke: #bc8cff; }
        .usage-area { fill: #bc8cff; }
        .deadline { stroke: #ff7b72; }
        .deadline-label { fill: #ff7b72; }
        .end { stroke: #9da7b3; }
        .end-label { fill: #9da7b3; }
        .mark { stroke: #0d1117; }
        .mark-text { fill: #ffffff; }
        """

    /// The whole document.
    var document: String {
        """
        <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 \(number(width)) \(number(height))" \
        width="\(number(width))" height="\(number(height))" role="img" aria-labelledby="title description">
        <title id="title">\(escaped(title))</title>
        <desc id="description">\(escaped(summary))</desc>
        <style>
        \(Self.styleSheet)
        @media (prefers-color-scheme: dark) {
        \(Self.darkStyleSheet)
        }
        </style>
        <rect class="background" width="\(number(width))" height="\(number(height))"/>
        \(elements.joined(separator: "\n"))
        </svg>

        """
    }

    /// A text; one that is longer than `limit` pixels is shortened.
    mutating func text(
        _ text: String,
        x: Double,
        y: Double,
        classes: String,
        anchor: String = "start",
        limit: Double? = nil
    ) {
        let shown = limit.map { shortened(text, to: Int($0 / (13 * 0.58)), usesUnicode: true) } ?? text
        elements.append(
            #"<text class="\#(classes)" x="\#(number(x))" y="\#(number(y))" text-anchor="\#(anchor)">\#(escaped(shown))</text>"#
        )
    }

    /// A text that reads upwards, centred on the place.
    mutating func verticalText(_ text: String, x: Double, y: Double, classes: String) {
        let place = "\(number(x)) \(number(y))"
        elements.append(
            #"<text class="\#(classes)" transform="translate(\#(place)) rotate(-90)" text-anchor="middle">\#(escaped(text))</text>"#
        )
    }

    mutating func path(_ points: [(Double, Double)], classes: String, isClosed: Bool = false) {
        guard points.count > 1 else { return }
        let steps = points.enumerated().map { "\($0 == 0 ? "M" : "L")\(number($1.0)) \(number($1.1))" }
        elements.append(#"<path class="\#(classes)" d="\#(steps.joined())\#(isClosed ? "Z" : "")"/>"#)
    }

    mutating func rectangle(x: Double, y: Double, width: Double, height: Double, classes: String) {
        elements.append(
            #"<rect class="\#(classes)" x="\#(number(x))" y="\#(number(y))" width="\#(number(width))" height="\#(number(height))"/>"#
        )
    }

    /// A numbered circle.
    mutating func mark(_ value: Int, x: Double, y: Double, radius: Double, kind: String) {
        elements.append(
            #"<circle class="mark \#(kind)" cx="\#(number(x))" cy="\#(number(y))" r="\#(number(radius))"/>"#
                + #"<text class="mark-text" x="\#(number(x))" y="\#(number(y + 3.5))" text-anchor="middle">\#(value)</text>"#
        )
    }

    private func number(_ value: Double) -> String {
        let text = value.text(decimals: 1)
        return text.hasSuffix(".0") ? String(text.dropLast(2)) : text
    }

    /// Text as XML 1.0 allows it.
    private func escaped(_ text: String) -> String {
        var result = ""
        for character in printable(text) {
            switch character {
            case "&": result += "&amp;"
            case "<": result += "&lt;"
            case ">": result += "&gt;"
            case "\"": result += "&quot;"
            default: result.append(character)
            }
        }
        return result
    }
}
