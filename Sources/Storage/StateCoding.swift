import FoundationEssentials

/// How values of the replicated state become bytes: JSON with sorted keys.
///
/// Text that names its fields can be read by versions that know fewer or more of them, and by people with any SQLite tool; that
/// is worth more than the bytes. Equal values give equal bytes.
package enum StateCoding {
    /// The bytes of a value; throws for numbers that JSON lacks (infinities), which the state refuses before.
    package static func encode(_ value: some Encodable) throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return [UInt8](try encoder.encode(value))
    }

    /// Reads a value back.
    package static func decode<Value: Decodable>(_ type: Value.Type, from bytes: [UInt8]) throws -> Value {
        try JSONDecoder().decode(type, from: Data(bytes))
    }
}
