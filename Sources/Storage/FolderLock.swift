import Glibc
import Synchronization

/// Holds a folder for one process: two agents on one state would each overwrite what the other acknowledged.
///
/// The kernel drops the lock when the process ends, however it ends (flock(2)).
final class FolderLock: Sendable {
    private let descriptor: Mutex<CInt>

    /// Makes the folder (mode 0700) when it is missing, and takes it.
    init(folder: String) throws {
        try Self.makeFolder(folder)
        let path = "\(folder)/lock"
        let opened = unsafe open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard opened >= 0 else { throw Self.failure("open", path) }
        guard flock(opened, LOCK_EX | LOCK_NB) == 0 else {
            let cause = errno
            let holder = Self.holder(opened)
            Glibc.close(opened)
            guard cause == EWOULDBLOCK else { throw Self.failure("lock", path, cause) }
            throw StorageError(
                .inUse,
                "Another agent\(holder) uses \(folder). Stop it first, or give this one a state folder of its own (folders.state)."
            )
        }
        // Who holds it is for people only; the lock does not rest on it.
        let text = Array("\(getpid())\n".utf8)
        _ = ftruncate(opened, 0)
        _ = unsafe text.withUnsafeBytes { bytes in unsafe pwrite(opened, bytes.baseAddress, bytes.count, 0) }
        descriptor = Mutex(opened)
    }

    deinit { release() }

    /// Gives the folder free; again does nothing.
    func release() {
        descriptor.withLock { descriptor in
            guard descriptor >= 0 else { return }
            // Closing alone would leave it to a child that another thread is just starting, until that has executed its program.
            flock(descriptor, LOCK_UN)
            Glibc.close(descriptor)
            descriptor = -1
        }
    }

    private static func holder(_ descriptor: CInt) -> String {
        var bytes = [UInt8](repeating: 0, count: 32)
        let count = unsafe bytes.withUnsafeMutableBytes { unsafe pread(descriptor, $0.baseAddress, $0.count, 0) }
        let digits = bytes.prefix(max(0, count)).prefix { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
        return digits.isEmpty ? "" : " (process \(String(decoding: digits, as: UTF8.self)))"
    }

    private static func makeFolder(_ folder: String) throws {
        let parent = parent(of: folder)
        var cause = makeOne(folder)
        if cause == ENOENT, parent != folder, parent != "." {
            try makeFolder(parent)
            cause = makeOne(folder)
        }
        guard cause == 0 else {
            // A file in its place is found when the lock is opened in it.
            if cause == EEXIST { return }
            throw failure("make", folder, cause)
        }
        // The new name must survive a power cut together with what is written below it.
        let opened = unsafe open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard opened >= 0 else { return }
        fsync(opened)
        Glibc.close(opened)
    }

    /// Makes one folder; the cause when that fails, 0 when it does not.
    private static func makeOne(_ folder: String) -> CInt {
        unsafe mkdir(folder, 0o700) == 0 ? 0 : errno
    }

    private static func parent(of folder: String) -> String {
        let parts = folder.split(separator: "/").dropLast().joined(separator: "/")
        return folder.hasPrefix("/") ? "/\(parts)" : (parts.isEmpty ? "." : parts)
    }

    private static func failure(_ verb: String, _ path: String, _ cause: CInt = errno) -> StorageError {
        StorageError(
            cause == ENOSPC ? .full : .folder,
            "Cannot \(verb) \(path): \(unsafe String(cString: strerror(cause))). Check its permissions and free space, or choose "
                + "another folder (folders.state)."
        )
    }
}
