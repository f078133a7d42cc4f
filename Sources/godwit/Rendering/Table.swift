/// Rows of aligned columns that fit the reader's width.
struct Table {
    /// One column and what becomes of it on a narrow terminal.
    struct Column {
        var title: String
        var isRight = false
        /// The width down to which long cells are shortened; nil means never.
        var minimumWidth: Int?
        /// Columns with the highest number go first when the table is too wide; nil means never.
        var dropOrder: Int?
        /// Whether the column is left out when all its cells are empty.
        var isOptional = false
    }

    /// What stands in one place.
    struct Cell: ExpressibleByStringLiteral {
        var text: String
        var tone: Presentation.Tone = .plain

        init(_ text: String, _ tone: Presentation.Tone = .plain) {
            self.text = printable(text)
            self.tone = tone
        }

        init(stringLiteral value: String) { self.init(value) }
    }

    var columns: [Column]
    var rows: [[Cell]] = []

    /// The table with its header, one text for each line, without spaces at line ends.
    func lines(_ style: Presentation) -> [String] {
        var shown = columns.indices.filter { column in
            !columns[column].isOptional || rows.contains { !$0[column].text.isEmpty }
        }
        let natural = columns.indices.map { column in
            rows.reduce(godwit.columns(of: columns[column].title)) { max($0, godwit.columns(of: $1[column].text)) }
        }
        var widths = natural
        if let available = style.width {
            while !fit(&widths, natural: natural, shown: shown, available: available) {
                let droppable = shown.filter { columns[$0].dropOrder != nil }
                guard let victim = droppable.max(by: { columns[$0].dropOrder ?? 0 < columns[$1].dropOrder ?? 0 }) else {
                    break
                }
                shown.removeAll { $0 == victim }
            }
        }
        let header = line(shown.map { Cell(columns[$0].title, .strong) }, shown, widths, style)
        return [header] + rows.map { row in line(shown.map { row[$0] }, shown, widths, style) }
    }

    /// Shortens the widest column that may be shortened until all fit; false when they cannot.
    private func fit(_ widths: inout [Int], natural: [Int], shown: [Int], available: Int) -> Bool {
        widths = natural
        while shown.reduce(2 * (shown.count - 1), { $0 + widths[$1] }) > available {
            let candidates = shown.filter { column in columns[column].minimumWidth.map { widths[column] > $0 } ?? false
            }
            guard let widest = candidates.max(by: { widths[$0] < widths[$1] }) else { return false }
            widths[widest] -= 1
        }
        return true
    }

    private func line(_ cells: [Cell], _ shown: [Int], _ widths: [Int], _ style: Presentation) -> String {
        var text = ""
        var pending = 0
        for (cell, column) in zip(cells, shown) {
            let content = shortened(cell.text, to: widths[column], usesUnicode: style.usesUnicode)
            let padding = max(0, widths[column] - godwit.columns(of: content))
            let before = columns[column].isRight ? padding : 0
            if !content.isEmpty {
                text += String(repeating: " ", count: pending + before) + style.paint(content, cell.tone)
                pending = 0
            } else {
                pending += before
            }
            pending += (columns[column].isRight ? 0 : padding) + 2
        }
        return text
    }
}

/// Names and values, one below the other, as `show` commands print them.
struct FieldList {
    private var fields: [(name: String, value: String, tone: Presentation.Tone)] = []

    /// Adds a field; one without a value is left out.
    mutating func add(_ name: String, _ value: String, _ tone: Presentation.Tone = .plain) {
        if !value.isEmpty { fields.append((name, printable(value), tone)) }
    }

    /// The fields, values aligned and wrapped below themselves.
    func lines(_ style: Presentation) -> [String] {
        let nameWidth = fields.reduce(0) { max($0, $1.name.count) }
        return fields.flatMap { field in
            let room = style.width.map { max(20, $0 - nameWidth - 4) }
            return wrapped(field.value, to: room).enumerated().map { index, part in
                let name = index == 0 ? field.name : ""
                let padding = String(repeating: " ", count: nameWidth - name.count + 2)
                return "  \(style.paint(name, .faint))\(padding)\(style.paint(part, field.tone))"
            }
        }
    }
}
