/// Writes fields to bytes in network order, one after the other.
extension [UInt8] {
    /// Appends an unsigned integer, most significant byte first.
    @inlinable
    package mutating func appendInteger<Value: FixedWidthInteger & UnsignedInteger>(_ value: Value) {
        for shift in stride(from: Value.bitWidth - 8, through: 0, by: -8) {
            append(UInt8(truncatingIfNeeded: value >> Value(shift)))
        }
    }

    /// Appends a 16-bit length and the bytes.
    ///
    /// - Precondition: there are at most 65,535 of them. A caller that takes them from outside checks its own, lower bound first.
    package mutating func appendShortBytes(_ bytes: [UInt8]) {
        precondition(bytes.count <= Int(UInt16.max), "\(bytes.count) bytes do not fit a field with a 16-bit length")
        appendInteger(UInt16(bytes.count))
        append(contentsOf: bytes)
    }

    /// Appends a 16-bit length and the text in UTF-8, under the same precondition as `appendShortBytes`.
    package mutating func appendShortText(_ text: String) { appendShortBytes(Array(text.utf8)) }
}
