/// CRC-32C (Castagnoli, reflected polynomial 0x82F63B78; RFC 3720, section 12.1), which finds every burst up to 32 bits.
///
/// SQLite does not notice when a disk returns other bytes than were written; the log and the snapshot must.
enum Checksum {
    /// Eight tables, so that eight bytes are taken at once ("slicing by 8", Kounavis and Berry, 2005).
    private static let tables: [[UInt32]] = {
        var tables = [[UInt32]](repeating: [UInt32](repeating: 0, count: 256), count: 8)
        for byte in 0..<256 {
            var value = UInt32(byte)
            for _ in 0..<8 { value = value & 1 == 1 ? (value >> 1) ^ 0x82F6_3B78 : value >> 1 }
            tables[0][byte] = value
        }
        for byte in 0..<256 {
            for level in 1..<8 {
                let last = tables[level - 1][byte]
                tables[level][byte] = (last >> 8) ^ tables[0][Int(last & 0xFF)]
            }
        }
        return tables
    }()

    /// The checksum of the bytes.
    static func crc32c(_ bytes: [UInt8]) -> UInt32 {
        let tables = tables
        var crc: UInt32 = ~0
        var index = 0
        while index + 8 <= bytes.count {
            let low =
                crc
                ^ (UInt32(bytes[index]) | UInt32(bytes[index + 1]) << 8 | UInt32(bytes[index + 2]) << 16
                    | UInt32(bytes[index + 3]) << 24)
            crc = tables[7][Int(low & 0xFF)] ^ tables[6][Int(low >> 8 & 0xFF)]
            crc ^= tables[5][Int(low >> 16 & 0xFF)] ^ tables[4][Int(low >> 24)]
            crc ^= tables[3][Int(bytes[index + 4])] ^ tables[2][Int(bytes[index + 5])]
            crc ^= tables[1][Int(bytes[index + 6])] ^ tables[0][Int(bytes[index + 7])]
            index += 8
        }
        while index < bytes.count {
            crc = (crc >> 8) ^ tables[0][Int((crc ^ UInt32(bytes[index])) & 0xFF)]
            index += 1
        }
        return ~crc
    }
}
