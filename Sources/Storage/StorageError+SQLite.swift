import GRDB

extension StorageError {
    /// The file is not what was written.
    static func damaged(file: String, detail: String) -> StorageError {
        StorageError(
            .damaged,
            "\(file) is damaged: \(detail). Containers keep running. Move the folder aside, put back a copy from a backup if there "
                + "is one, or start with an empty folder and submit the jobs again; check the disk (`dmesg`, `smartctl`)."
        )
    }

    /// Says what a failure of SQLite means for the operator.
    static func from(_ error: any Error, doing verb: String, file: String) -> StorageError {
        if let error = error as? StorageError { return error }
        guard let error = error as? DatabaseError else {
            return StorageError(.failed, "Cannot \(verb) \(file): \(error)")
        }
        let cause = error.message ?? "\(error.resultCode)"
        switch error.resultCode {
        case .SQLITE_FULL:
            return StorageError(
                .full,
                "Cannot \(verb) \(file): \(cause). Nothing of it was kept. Free some space on its disk, then try again."
            )
        case .SQLITE_CORRUPT, .SQLITE_NOTADB:
            return .damaged(file: file, detail: cause)
        case .SQLITE_CANTOPEN, .SQLITE_PERM, .SQLITE_READONLY, .SQLITE_AUTH:
            return StorageError(
                .folder,
                "Cannot \(verb) \(file): \(cause). Check the permissions of the folder and the file."
            )
        case .SQLITE_BUSY, .SQLITE_LOCKED:
            return StorageError(
                .inUse,
                "Cannot \(verb) \(file): \(cause). Another program has it locked; close it (`fuser \(file)` names it)."
            )
        default:
            return StorageError(
                .failed,
                "Cannot \(verb) \(file): \(cause) (SQLite code \(error.extendedResultCode.rawValue)). Check the disk."
            )
        }
    }
}
