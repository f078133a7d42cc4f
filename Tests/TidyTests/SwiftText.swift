/// Swift source with everything blanked out that is not code, so that a word search finds code only.
///
/// Comments and the contents of string literals become spaces; code inside interpolations stays; lines keep their numbers.
/// Regex literals are not told from division: a quote inside one would confuse this, and none of ours has one unescaped.
struct SwiftText {
    let code: String

    var lines: [Substring] { code.split(separator: "\n", omittingEmptySubsequences: false) }

    init(_ source: String) {
        var scanner = Scanner(source: Array(source.unicodeScalars))
        scanner.scanCode(untilClosingParenthesis: false)
        var text = String.UnicodeScalarView()
        text.append(contentsOf: scanner.output)
        code = String(text)
    }

    private struct Scanner {
        let source: [Unicode.Scalar]
        var position = 0
        var output: [Unicode.Scalar] = []

        init(source: [Unicode.Scalar]) {
            self.source = source
            output.reserveCapacity(source.count)
        }

        func starts(with text: String, at offset: Int = 0) -> Bool {
            var index = position + offset
            for scalar in text.unicodeScalars {
                guard index < source.count, source[index] == scalar else { return false }
                index += 1
            }
            return true
        }

        mutating func keep() {
            output.append(source[position])
            position += 1
        }

        mutating func blank(_ count: Int = 1) {
            for _ in 0..<count where position < source.count {
                output.append(source[position] == "\n" ? "\n" : " ")
                position += 1
            }
        }

        mutating func scanCode(untilClosingParenthesis: Bool) {
            var depth = 0
            while position < source.count {
                if starts(with: "//") {
                    while position < source.count, source[position] != "\n" { blank() }
                } else if starts(with: "/*") {
                    blankBlockComment()
                } else if let hashes = hashesOfString() {
                    blankString(hashes: hashes)
                } else {
                    if source[position] == "(" { depth += 1 }
                    if source[position] == ")" {
                        if untilClosingParenthesis, depth == 0 { return }
                        depth -= 1
                    }
                    keep()
                }
            }
        }

        mutating func blankBlockComment() {
            var depth = 0
            repeat {
                if starts(with: "/*") {
                    depth += 1
                    blank(2)
                } else if starts(with: "*/") {
                    depth -= 1
                    blank(2)
                } else {
                    blank()
                }
            } while depth > 0 && position < source.count
        }

        /// How many `#` stand before the quote, when a string literal starts here.
        func hashesOfString() -> Int? {
            var hashes = 0
            while starts(with: "#", at: hashes) { hashes += 1 }
            return starts(with: "\"", at: hashes) ? hashes : nil
        }

        mutating func blankString(hashes: Int) {
            let fence = String(repeating: "#", count: hashes)
            blank(hashes)
            let quotes = starts(with: "\"\"\"") ? "\"\"\"" : "\""
            blank(quotes.count)
            while position < source.count {
                if starts(with: quotes + fence) {
                    blank(quotes.count + hashes)
                    return
                } else if starts(with: "\\" + fence + "(") {
                    blank(1 + hashes)
                    keep()
                    scanCode(untilClosingParenthesis: true)
                    if position < source.count { keep() }
                } else if starts(with: "\\" + fence) {
                    blank(2 + hashes)
                } else if quotes.count == 1, source[position] == "\n" {
                    return
                } else {
                    blank()
                }
            }
        }
    }
}
