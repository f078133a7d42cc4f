/// How the files of a checkpoint are sealed, so that every copy of them can be told from any other file.
package struct ImageSeal: Sendable, Codable, Hashable {
    /// The number of the cluster's checkpoint key that they are sealed under.
    package var key: UInt64
    /// SHA-256 of the index as it lies on the disk, in lower-case hexadecimal digits: 64 characters.
    ///
    /// The index is sealed as one message and says where each sealed region lies, so that copies with the same digest are the same.
    package var digest: String

    /// Takes the values as they are.
    package init(key: UInt64, digest: String) { (self.key, self.digest) = (key, digest) }

    /// Whether the digest can be one, and the key has a number.
    package var isPlausible: Bool {
        key != 0 && digest.utf8.count == 64
            && digest.utf8.allSatisfy {
                switch $0 {
                case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "f"): true
                default: false
                }
            }
    }
}
