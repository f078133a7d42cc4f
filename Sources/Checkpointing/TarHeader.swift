/// Why bytes are not the tar that they should be.
package struct TarProblem: Error, Sendable, Equatable, CustomStringConvertible {
    /// What is wrong, as the middle of a sentence.
    package var description: String
    package init(_ description: String) { self.description = description }
}

/// The header of one file in a tar, as POSIX.1-2001 (ustar) lays it out; sizes from 8 GiB on as GNU tar writes them.
package struct TarHeader: Sendable, Equatable {
    /// Headers and content are padded to this.
    package static let blockBytes = 512
    /// What ends a tar: two blocks of zeros.
    package static let end = [UInt8](repeating: 0, count: 2 * blockBytes)

    /// At most 100 bytes.
    package var name: String
    /// Bytes of the content, without padding.
    package var size: UInt64
    /// Seconds since 1970.
    package var modified: UInt64

    package init(name: String, size: UInt64, modified: UInt64 = 0) {
        (self.name, self.size, self.modified) = (name, size, modified)
    }

    /// Zeros after content of this size.
    package static func padding(after size: UInt64) -> Int {
        Int((UInt64(blockBytes) - size % UInt64(blockBytes)) % UInt64(blockBytes))
    }

    /// The header of a file that only its owner may read.
    package func encoded() -> [UInt8] {
        precondition((1...100).contains(name.utf8.count))
        var block = [UInt8](repeating: 0, count: Self.blockBytes)
        func put(_ bytes: some Sequence<UInt8>, at offset: Int) {
            for (index, byte) in bytes.enumerated() { block[offset + index] = byte }
        }
        func octal(_ value: UInt64, digits: Int) -> [UInt8] {
            let text = Array(String(value, radix: 8).utf8)
            return [UInt8](repeating: UInt8(ascii: "0"), count: max(0, digits - text.count)) + text
        }
        put(name.utf8, at: 0)
        put(octal(0o600, digits: 7), at: 100)
        put(octal(0, digits: 7), at: 108)
        put(octal(0, digits: 7), at: 116)
        if size < 1 << 33 {
            put(octal(size, digits: 11), at: 124)
        } else {
            block[124] = 0x80
            for index in 0..<8 { block[128 + index] = UInt8(truncatingIfNeeded: size >> UInt64(8 * (7 - index))) }
        }
        put(octal(min(modified, 1 << 33 - 1), digits: 11), at: 136)
        block[156] = UInt8(ascii: "0")
        put("ustar\u{0}00".utf8, at: 257)
        put("root".utf8, at: 265)
        put("root".utf8, at: 297)
        put(octal(Self.sum(block), digits: 6) + [0, 0x20], at: 148)
        return block
    }

    /// Reads a header; nil for a block of zeros, which ends a tar.
    package static func decode(_ block: [UInt8]) throws(TarProblem) -> TarHeader? {
        precondition(block.count == blockBytes)
        if block.allSatisfy({ $0 == 0 }) { return nil }
        guard block[257..<262].elementsEqual("ustar".utf8) else { throw TarProblem("it is not a tar") }
        guard let expected = octal(block[148..<156]), expected == sum(block) else {
            throw TarProblem("a header in it is damaged")
        }
        guard block[156] == UInt8(ascii: "0") || block[156] == 0 else {
            throw TarProblem("there is something in it that is not a file")
        }
        let name = block[..<100].prefix { $0 != 0 }
        guard !name.isEmpty, block[345] == 0, let text = String(validating: name, as: UTF8.self) else {
            throw TarProblem("a name in it cannot be read")
        }
        let size: UInt64?
        if block[124] == 0x80 {
            size =
                block[125..<128].allSatisfy { $0 == 0 } && block[128] < 0x80
                ? block[128..<136].reduce(UInt64(0)) { $0 << 8 | UInt64($1) } : nil
        } else {
            size = octal(block[124..<136])
        }
        guard let size, let modified = octal(block[136..<148]) else { throw TarProblem("a size in it cannot be read") }
        return TarHeader(name: text, size: size, modified: modified)
    }

    /// The sum of the block's bytes with spaces where the sum itself stands.
    private static func sum(_ block: [UInt8]) -> UInt64 {
        block.indices.reduce(0) { $0 + UInt64((148..<156).contains($1) ? 0x20 : block[$1]) }
    }

    private static func octal(_ bytes: ArraySlice<UInt8>) -> UInt64? {
        let digits = bytes.drop { $0 == 0x20 }.prefix { (UInt8(ascii: "0")...UInt8(ascii: "7")).contains($0) }
        guard bytes.drop(while: { $0 == 0x20 }).dropFirst(digits.count).allSatisfy({ $0 == 0 || $0 == 0x20 }) else {
            return nil
        }
        return digits.reduce(UInt64(0)) { $0 << 3 | UInt64($1 - UInt8(ascii: "0")) }
    }
}

/// The files of an exported checkpoint, in their order.
package enum ArchiveEntry: String, Sendable, CaseIterable {
    /// What it is and where it is from, for programs; first, so that a foreign tar is known at once.
    case description = "godwit-checkpoint.json"
    /// The job's document.
    case job = "job.json"
    /// The regions, compressed and unsealed, behind the header that every data file has.
    case data
    /// What lies where in `data`.
    case index
    /// SHA-256 of each of the files before, as `sha256sum --check` reads it; last, so that a tar that was cut off has none.
    case sums = "SHA256SUMS"

    /// The most bytes that are taken of one; nil: as much as there is room.
    package var byteLimit: UInt64? {
        switch self {
        case .description, .sums: 64 << 10
        case .job: 2 << 20
        case .data: nil
        case .index: 256 << 20
        }
    }
}
