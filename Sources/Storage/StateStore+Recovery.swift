import ClusterModel
import GRDB
import Glibc
import Synchronization

// What no running agent does: for `godwitd recover`.
extension StateStore {
    /// Copies everything that is stored into a folder, which is made, as a store of its own; durable when it returns.
    ///
    /// - Throws: `StorageError` when the folder is there already or cannot be written.
    @concurrent
    package func copy(to folder: String) async throws {
        guard unsafe mkdir(folder, 0o700) == 0 else {
            let cause = errno
            throw StorageError(
                cause == ENOSPC ? .full : .folder,
                "Cannot make \(folder): \(unsafe String(cString: strerror(cause))). Nothing was changed."
            )
        }
        let copy = "\(folder)/state.sqlite"
        do {
            try await pool.writeWithoutTransaction { database in
                try database.execute(sql: "VACUUM INTO ?", arguments: [copy])
            }
        } catch {
            throw StorageError.from(error, doing: "copy to \(folder)", file: file)
        }
        for path in [copy, folder, String(folder[..<(folder.lastIndex(of: "/") ?? folder.startIndex)])] {
            try Self.flush(path.isEmpty ? "/" : path)
        }
    }

    private static func flush(_ path: String) throws {
        let opened = unsafe Glibc.open(path, O_RDONLY | O_CLOEXEC)
        defer { if opened >= 0 { Glibc.close(opened) } }
        guard opened >= 0, fsync(opened) == 0 else {
            let cause = errno
            throw StorageError(
                .failed,
                "Cannot flush \(path): \(unsafe String(cString: strerror(cause))). Check the disk."
            )
        }
    }

    /// Replaces log, snapshot, hard state and member number by the beginning of another history, all of it or nothing.
    ///
    /// Decisions and samples stay. Only for a store that no agent uses: what the old member promised to others is forgotten, which
    /// is safe only because its number never speaks again.
    ///
    /// - Parameter batch: must have a member, a hard state and a snapshot, and no entries.
    /// - Throws: `StorageError`; then everything is as before.
    @concurrent
    package func beginAnew(_ batch: StateBatch) async throws {
        precondition(batch.member != nil && batch.hardState != nil && batch.snapshot != nil && batch.entries.isEmpty)
        do {
            try await pool.write { database in
                for table in ["member", "hardState", "snapshot", "log"] {
                    try database.execute(sql: "DELETE FROM \(table)")
                }
                try LogTable.write(batch, deleting: LogRange.Deletion(), to: database)
            }
        } catch {
            throw StorageError.from(error, doing: "write", file: file)
        }
        queue.withLock { queue in
            queue.range = LogRange(StoredState(member: batch.member, snapshot: batch.snapshot))
        }
    }
}
