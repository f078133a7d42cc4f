import ClusterModel
import Foundation
import Testing

struct JSONStringTests {
    @Test func everyCharacterComesBack() throws {
        let scalars = (UInt32(0)...0x2100).compactMap(Unicode.Scalar.init) + ["\u{FFFD}", "\u{1F980}", "\u{10FFFF}"]
        for scalar in scalars {
            let text = "a\(scalar)b"
            let read = try JSONDecoder().decode(String.self, from: Data(jsonString(text).utf8))
            #expect(read.unicodeScalars.elementsEqual(text.unicodeScalars), "U+\(String(scalar.value, radix: 16))")
        }
    }

    @Test(arguments: [
        ("", #""""#), ("plain é", #""plain é""#), ("a\"b\\c", #""a\"b\\c""#), ("\n\r\t", #""\n\r\t""#),
        ("\0\u{1F}\u{7F}\u{85}", #""\u0000\u001f\u007f\u0085""#), ("\u{2028}\u{2029}", #""\u2028\u2029""#),
    ])
    func staysOnOneLine(text: String, written: String) {
        #expect(jsonString(text) == written)
        let lines = jsonString(text).split(omittingEmptySubsequences: false, whereSeparator: \.isNewline)
        #expect(lines.count == 1)
    }
}
