/// A region whose stored bytes are not what was written.
package struct DamagedRegion: Sendable, Equatable {
    /// The file that it is part of.
    package var file: String
    /// Its number in the file, from 0.
    package var region: Int
    /// Its first byte in the file.
    package var offset: UInt64
    /// Bytes of the file.
    package var length: UInt64

    package init(file: String, region: Int, offset: UInt64, length: UInt64) {
        (self.file, self.region, self.offset, self.length) = (file, region, offset, length)
    }
}

/// What reading every byte of a checkpoint has shown.
package struct ImageExamination: Sendable, Equatable {
    /// The first damaged regions, by file and number; at most `listed`.
    package var damaged: [DamagedRegion]
    /// How many there are.
    package var damagedCount: Int
    /// What is wrong, one sentence; nil when every byte is as it was written.
    package var problem: String?

    /// Damaged regions that are named.
    package static let listed = 64

    /// Nothing is wrong unless it is said.
    package init(damaged: [DamagedRegion] = [], damagedCount: Int = 0, problem: String? = nil) {
        (self.damaged, self.damagedCount, self.problem) = (damaged, damagedCount, problem)
    }
}

/// How far a reader of a checkpoint is, in stored bytes.
package struct ReadingProgress: Sendable, Equatable {
    /// Bytes read and looked at so far.
    package var checked: UInt64
    /// Bytes that there are.
    package var total: UInt64
    package init(checked: UInt64, total: UInt64) { (self.checked, self.total) = (checked, total) }
}
