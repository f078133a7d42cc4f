/// Reads fields from bytes in network order, one after the other.
///
/// The place is an `inout` offset beside the span instead of a reader that holds the span, because a type that stores a
/// `Span` needs language features that are still experimental. A throwing read leaves the offset where it was.
extension Span<UInt8> {
    /// Reads an unsigned integer, most significant byte first.
    package func readInteger<Value: FixedWidthInteger & UnsignedInteger>(
        _ type: Value.Type = Value.self,
        at offset: inout Int
    ) throws(DecodeError) -> Value {
        let size = Value.bitWidth / 8
        try require(size, at: offset)
        var value: Value = 0
        for index in offset..<(offset + size) { value = value << 8 | Value(truncatingIfNeeded: self[index]) }
        offset += size
        return value
    }

    /// Reads `count` bytes.
    package func readBytes(_ count: Int, at offset: inout Int) throws(DecodeError) -> [UInt8] {
        try require(count, at: offset)
        let part = extracting(offset..<(offset + count))
        offset += count
        return [UInt8](copying: part)
    }

    /// Reads a 16-bit length and that many bytes, at most `limit`.
    package func readShortBytes(_ field: String, limit: Int, at offset: inout Int) throws(DecodeError) -> [UInt8] {
        var place = offset
        let count = Int(try readInteger(UInt16.self, at: &place))
        guard count <= limit else { throw .tooLong(field: field, count: count, limit: limit) }
        let bytes = try readBytes(count, at: &place)
        offset = place
        return bytes
    }

    /// Reads a 16-bit length and that many bytes of UTF-8, at most `limit`.
    package func readShortText(_ field: String, limit: Int, at offset: inout Int) throws(DecodeError) -> String {
        var place = offset
        let bytes = try readShortBytes(field, limit: limit, at: &place)
        guard let text = String(validating: bytes, as: UTF8.self) else { throw .notText(field: field) }
        offset = place
        return text
    }

    /// Checks that nothing follows.
    package func requireEnd(at offset: Int) throws(DecodeError) {
        guard offset == count else { throw .trailing(count: count - offset) }
    }

    private func require(_ wanted: Int, at offset: Int) throws(DecodeError) {
        guard wanted >= 0, offset >= 0, offset <= count, count - offset >= wanted else {
            throw .truncated(offset: offset, wanted: wanted, available: Swift.max(0, count - offset))
        }
    }
}

extension [UInt8] {
    fileprivate init(copying part: Span<UInt8>) {
        self.init()
        reserveCapacity(part.count)
        for index in part.indices { append(part[index]) }
    }
}
