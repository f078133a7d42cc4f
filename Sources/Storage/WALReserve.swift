import Glibc

/// Room on the disk for the write-ahead log before it is needed.
///
/// A flush of a file that has grown must write the file system's journal too; within room that was written before, it writes the data
/// alone. Measured on ext4: half the time, and a hundredth at the 99th percentile when other programs use the journal as well.
/// SQLite begins the WAL anew within the file each time that its pages are in the database, so this is needed once only.
enum WALReserve {
    /// What SQLite gathers before it moves pages to the database (1000 of them), and a transaction of as much again.
    static let byteCount = 8 << 20
    /// What is left of a WAL that one transaction, such as a large snapshot, has made longer.
    static let byteLimit = 16 << 20
    /// Of the free space; less is better left to the log itself.
    private static let largestShare = 16

    /// Fills the rest of a WAL with zeros, which no frame begins with; SQLite stops reading at the first of them.
    ///
    /// Only while nobody writes to the database. Where there is no room, things go on without it.
    static func fill(database: String) {
        let file = unsafe open("\(database)-wal", O_WRONLY | O_CLOEXEC)
        guard file >= 0 else { return }
        defer { close(file) }
        var space = statvfs()
        guard unsafe fstatvfs(file, &space) == 0 else { return }
        guard UInt64(space.f_bavail) * UInt64(space.f_frsize) / UInt64(largestShare) >= UInt64(byteCount) else {
            return
        }
        let end = Int(lseek(file, 0, SEEK_END))
        let zeros = [UInt8](repeating: 0, count: 1 << 20)
        var offset = end
        while offset >= 0, offset < byteCount {
            let count = min(zeros.count, byteCount - offset)
            let written = unsafe zeros.withUnsafeBytes { unsafe pwrite(file, $0.baseAddress, count, offset) }
            guard written > 0 else { break }
            offset += written
        }
        // Unflushed, the first commits would pay for it.
        fdatasync(file)
    }
}
