/// Appends little-endian integers and texts.
struct ByteWriter {
    private(set) var bytes: [UInt8] = []

    mutating func reserve(_ count: Int) { bytes.reserveCapacity(count) }

    mutating func append(_ value: some FixedWidthInteger & UnsignedInteger) {
        for shift in stride(from: 0, to: value.bitWidth, by: 8) {
            bytes.append(UInt8(truncatingIfNeeded: value >> shift))
        }
    }

    mutating func append(_ more: [UInt8]) { bytes += more }

    /// A length in 16 bits and the text; at most 65,535 bytes.
    mutating func append(text: String) {
        append(UInt16(text.utf8.count))
        bytes += Array(text.utf8)
    }

    mutating func append(_ region: ImageRegion, hasHash: Bool) {
        append(region.encoding.rawValue)
        append(region.rawOffset)
        append(region.rawLength)
        append(region.storedOffset)
        append(region.storedLength)
        append(region.pages)
        append(region.checksum)
        guard hasHash else { return }
        for word in 0..<4 { append(region.contentHash?.words[word] ?? 0) }
    }

    mutating func append(_ part: RegionPart) {
        append(part.extent.encoding.rawValue)
        append(part.extent.source)
        append(part.extent.offset)
        append(part.extent.length)
        append(UInt8(clamping: part.extent.contentLength / UInt32(ImageIndex.pageBytes)))
        append(part.extent.checksum)
        append(part.taken)
        append(part.pages)
    }
}

/// Takes little-endian integers and texts, each only if it is there in full.
struct ByteReader {
    private let content: [UInt8]
    private(set) var position = 0
    private let what: String

    /// Reads from a copy of `bytes`; errors call it `what`.
    init(_ bytes: Span<UInt8>, what: String) {
        content = [UInt8](capacity: bytes.count) { output in
            for index in bytes.indices { output.append(bytes[index]) }
        }
        self.what = what
    }

    var remaining: Int { content.count - position }

    mutating func integer<Value: FixedWidthInteger & UnsignedInteger>() throws(ImageIndexError) -> Value {
        let width = Value.bitWidth / 8
        guard remaining >= width else { throw .truncated(what: what) }
        var value: Value = 0
        for offset in 0..<width { value |= Value(content[position + offset]) << (8 * offset) }
        position += width
        return value
    }

    mutating func bytes(_ count: Int) throws(ImageIndexError) -> [UInt8] {
        guard count >= 0, remaining >= count else { throw .truncated(what: what) }
        defer { position += count }
        return Array(content[position..<position + count])
    }

    mutating func text() throws(ImageIndexError) -> String {
        let length: UInt16 = try integer()
        guard let text = String(validating: try bytes(Int(length)), as: UTF8.self) else {
            throw .invalid(place: what, problem: "a text that is not UTF-8")
        }
        return text
    }
}
