import SwiftProtobuf

/// The message in the proto3 JSON mapping, one line, map keys sorted.
///
/// Fields that have their default (0, empty, false) are left out, 64-bit numbers are strings, as the mapping says. With
/// `isIndented` the same is spread over lines for people.
func jsonText(_ message: some Message, isIndented: Bool) throws -> String {
    var options = JSONEncodingOptions()
    options.useDeterministicOrdering = true
    let line = try message.jsonString(options: options)
    return (isIndented ? indentedJSON(line) : line) + "\n"
}

/// Spreads valid JSON over lines, two columns for each level.
func indentedJSON(_ text: String) -> String {
    var result: [UInt8] = []
    var depth = 0
    var isInString = false
    var isEscaped = false
    let bytes = Array(text.utf8)
    func newLine() { result += [0x0A] + [UInt8](repeating: 0x20, count: depth * 2) }
    for (index, byte) in bytes.enumerated() {
        if isInString {
            result.append(byte)
            if isEscaped {
                isEscaped = false
            } else if byte == UInt8(ascii: "\\") {
                isEscaped = true
            } else if byte == 0x22 {
                isInString = false
            }
            continue
        }
        let next = index + 1 < bytes.count ? bytes[index + 1] : 0
        switch byte {
        case UInt8(ascii: "{"), UInt8(ascii: "["):
            result.append(byte)
            depth += 1
            if next != UInt8(ascii: "}"), next != UInt8(ascii: "]") { newLine() }
        case UInt8(ascii: "}"), UInt8(ascii: "]"):
            depth -= 1
            let previous = index > 0 ? bytes[index - 1] : 0
            if previous != UInt8(ascii: "{"), previous != UInt8(ascii: "[") { newLine() }
            result.append(byte)
        case UInt8(ascii: ","):
            result.append(byte)
            newLine()
        case UInt8(ascii: ":"): result += [byte, 0x20]
        case 0x22:
            isInString = true
            result.append(byte)
        default: result.append(byte)
        }
    }
    return String(decoding: result, as: UTF8.self)
}
