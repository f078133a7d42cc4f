/// What is wrong with something that CRIU wrote, and where.
package struct CRIUImageError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The file, and the entry in it.
    package var place: String
    /// What is there, in a few words.
    package var problem: String

    package init(place: String, problem: String) { (self.place, self.problem) = (place, problem) }

    package var description: String { "\(place): \(problem)" }
}

/// One of CRIU's image files: magic numbers, then entries of a length in 32 bits and a protobuf message.
///
/// Only numbers are kept of a message, which is all that page maps and inventory have of interest here.
struct CRIUImage: Sendable {
    /// `IMG_COMMON_MAGIC`: what every image but the inventory begins with since format 1.1.
    static let commonMagic: UInt32 = 0x5456_4319
    static let pageMapMagic: UInt32 = 0x5608_4025
    static let inventoryMagic: UInt32 = 0x5831_3116

    /// More than any file of page maps needs: an entry has some 20 bytes, so this is a fragmented 50 GiB.
    static let byteLimit = 256 << 20
    /// More than an entry of page map or inventory has.
    private static let entryLimit: UInt32 = 1 << 20

    /// Numbers of fields, and what they hold; of a repeated field the last.
    struct Entry: Sendable {
        /// A page map's entry has five fields, an inventory a dozen: looking through them is quicker than hashing.
        fileprivate(set) var fields: [(number: UInt64, value: UInt64)] = []

        subscript(_ number: UInt64) -> UInt64? { fields.last { $0.number == number }?.value }
    }

    let name: String
    private let bytes: [UInt8]
    private var position: Int
    private(set) var entryNumber = 0

    init(name: String, _ bytes: [UInt8], magic: UInt32) throws(CRIUImageError) {
        (self.name, self.bytes) = (name, bytes)
        guard bytes.count <= Self.byteLimit else {
            throw CRIUImageError(place: name, problem: "\(bytes.count) bytes are more than such a file can need")
        }
        let magics = magic == Self.inventoryMagic ? [magic] : [Self.commonMagic, magic]
        position = magics.count * 4
        guard bytes.count >= position else {
            throw CRIUImageError(place: name, problem: "it ends before its magic numbers")
        }
        for (index, magic) in magics.enumerated() where Self.word(bytes, at: 4 * index) != magic {
            throw CRIUImageError(place: name, problem: "its magic numbers are not those of such a file")
        }
    }

    private static func word(_ bytes: [UInt8], at offset: Int) -> UInt32 {
        (0..<4).reduce(0) { $0 | UInt32(bytes[offset + $1]) << UInt32(8 * $1) }
    }

    func error(_ problem: String) -> CRIUImageError {
        CRIUImageError(place: "\(name), entry \(entryNumber)", problem: problem)
    }

    /// The next entry; nil at the end of the file.
    mutating func next() throws(CRIUImageError) -> Entry? {
        guard position < bytes.count else { return nil }
        entryNumber += 1
        guard bytes.count - position >= 4 else { throw error("it ends within the length of an entry") }
        let length = Self.word(bytes, at: position)
        position += 4
        guard length <= Self.entryLimit else { throw error("a length of \(length) bytes") }
        guard Int(length) <= bytes.count - position else { throw error("it ends within an entry") }
        let end = position + Int(length)
        var entry = Entry()
        while position < end {
            let key = try number(before: end)
            switch key & 7 {
            case 0: entry.fields.append((key >> 3, try number(before: end)))
            case 1: try skip(8, before: end)
            case 2: try skip(try number(before: end), before: end)
            case 5: try skip(4, before: end)
            default: throw error("a field of the unknown kind \(key & 7)")
            }
        }
        return entry
    }

    private mutating func skip(_ count: UInt64, before end: Int) throws(CRIUImageError) {
        guard count <= UInt64(end - position) else { throw error("a field that is longer than its entry") }
        position += Int(count)
    }

    /// A number of 7 bits a byte, at most 10 bytes long.
    private mutating func number(before end: Int) throws(CRIUImageError) -> UInt64 {
        var value: UInt64 = 0
        var shift: UInt64 = 0
        while position < end, shift < 70 {
            let byte = bytes[position]
            position += 1
            guard shift < 63 || byte <= 1 else { break }
            value |= UInt64(byte & 0x7F) << shift
            if byte < 0x80 { return value }
            shift += 7
        }
        throw error("a number that does not end, or is too large")
    }
}
