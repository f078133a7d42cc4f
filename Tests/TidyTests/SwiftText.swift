/// Swift source with everything blanked out that is not code, so that a word search finds code only.
///
/// Comments and the contents of string literals become spaces; code inside interpolations stays; lines keep their numbers.
/// Regex literals are not told from division: a quote inside one would confuse this, and none of ours has one unescaped.
struct SwiftText {
    let code: String

    var lines: [Substring] { code.split(separator: "\n", omittingEmptySubsequences: false) }

    init(_ source: String) {
        var scanner = Scanner(source: Array(source.utf8))
        scanner.scanCode(untilClosingParenthesis: false)
        code = String(decoding: scanner.output, as: UTF8.self)
    }

    /// Works on bytes: every byte that matters here is ASCII, and no byte of a longer character is.
    private struct Scanner {
        let source: [UInt8]
        var position = 0
        var output: [UInt8] = []

        init(source: [UInt8]) {
            self.source = source
            output.reserveCapacity(source.count)
        }

        static let newline = UInt8(ascii: "\n")
        static let slash = UInt8(ascii: "/")
        static let star = UInt8(ascii: "*")
        static let hash = UInt8(ascii: "#")
        static let quote = UInt8(ascii: "\"")
        static let backslash = UInt8(ascii: "\\")
        static let opening = UInt8(ascii: "(")
        static let closing = UInt8(ascii: ")")

        func byte(_ offset: Int = 0) -> UInt8 {
            position + offset < source.count ? source[position + offset] : 0
        }

        /// How often a byte stands here in a row, from an offset.
        func run(of wanted: UInt8, at offset: Int = 0) -> Int {
            var count = 0
            while byte(offset + count) == wanted { count += 1 }
            return count
        }

        mutating func keep() {
            output.append(source[position])
            position += 1
        }

        mutating func blank(_ count: Int = 1) {
            for _ in 0..<count where position < source.count {
                output.append(source[position] == Self.newline ? Self.newline : UInt8(ascii: " "))
                position += 1
            }
        }

        mutating func scanCode(untilClosingParenthesis: Bool) {
            var depth = 0
            while position < source.count {
                switch byte() {
                case Self.slash where byte(1) == Self.slash:
                    while position < source.count, byte() != Self.newline { blank() }
                case Self.slash where byte(1) == Self.star:
                    blankBlockComment()
                case Self.quote:
                    blankString(hashes: 0)
                case Self.hash where byte(run(of: Self.hash)) == Self.quote:
                    blankString(hashes: run(of: Self.hash))
                case Self.opening:
                    depth += 1
                    keep()
                case Self.closing:
                    if untilClosingParenthesis, depth == 0 { return }
                    depth -= 1
                    keep()
                default:
                    keep()
                }
            }
        }

        mutating func blankBlockComment() {
            var depth = 0
            repeat {
                if byte() == Self.slash, byte(1) == Self.star {
                    depth += 1
                    blank(2)
                } else if byte() == Self.star, byte(1) == Self.slash {
                    depth -= 1
                    blank(2)
                } else {
                    blank()
                }
            } while depth > 0 && position < source.count
        }

        mutating func blankString(hashes: Int) {
            blank(hashes)
            let quotes = run(of: Self.quote) >= 3 ? 3 : 1
            blank(quotes)
            while position < source.count {
                if byte() == Self.quote, run(of: Self.quote) >= quotes, run(of: Self.hash, at: quotes) >= hashes {
                    blank(quotes + hashes)
                    return
                } else if byte() == Self.backslash, run(of: Self.hash, at: 1) >= hashes {
                    guard byte(1 + hashes) == Self.opening else {
                        blank(2 + hashes)
                        continue
                    }
                    blank(1 + hashes)
                    keep()
                    scanCode(untilClosingParenthesis: true)
                    if position < source.count { keep() }
                } else if quotes == 1, byte() == Self.newline {
                    return
                } else {
                    blank()
                }
            }
        }
    }
}
