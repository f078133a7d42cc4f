import Glibc

/// Files that hold a private key: never readable by others, never overwritten.
enum SecretFile {
    /// A file of keys and certificates is never this large.
    private static let limitBytes = 1 << 20

    /// Creates the file with the given bytes; it must not exist.
    ///
    /// The bytes are on disk when the call returns.
    static func create(_ path: String, mode: mode_t, _ bytes: [UInt8], replaceHint: String) throws {
        let descriptor = unsafe open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode)
        guard descriptor >= 0 else {
            let remedy =
                switch errno {
                case EEXIST: replaceHint
                case ENOENT: "create its folder first"
                case EACCES, EPERM, EROFS: "choose a place that you may write to"
                default: "choose another place"
                }
            throw TLSError(.file, "cannot create \(path): \(reason(errno)); \(remedy)")
        }
        do {
            // The mode given to open is narrowed by the umask but never widened; a key must be exactly as told.
            guard fchmod(descriptor, mode) == 0 else { throw failure("set the mode of", path) }
            var written = 0
            while written < bytes.count {
                let count = unsafe bytes.withUnsafeBytes {
                    unsafe write(
                        descriptor,
                        UnsafeRawBufferPointer(rebasing: $0[written...]).baseAddress,
                        $0.count - written
                    )
                }
                if count < 0, errno == EINTR { continue }
                guard count > 0 else { throw failure("write", path) }
                written += count
            }
            guard fsync(descriptor) == 0 else { throw failure("write", path) }
        } catch {
            close(descriptor)
            unsafe unlink(path)
            throw error
        }
        close(descriptor)
    }

    /// Replaces a file at once; it must exist, and keeps its owner.
    ///
    /// The bytes are on disk when the call returns.
    static func replace(_ path: String, mode: mode_t, _ bytes: [UInt8]) throws {
        var status = stat()
        guard unsafe stat(path, &status) == 0 else { throw failure("replace", path) }
        let fresh = "\(path).\(getpid()).new"
        try create(fresh, mode: mode, bytes, replaceHint: "it is left from an interrupted renewal: remove it")
        do {
            // Root renews what belongs to others; anybody else can only own it already.
            let (user, group) = (geteuid(), getegid())
            if status.st_uid != user || status.st_gid != group {
                guard unsafe chown(fresh, status.st_uid, status.st_gid) == 0 else {
                    throw failure("give the owner of \(path) to", fresh)
                }
            }
            guard unsafe rename(fresh, path) == 0 else { throw failure("replace", path) }
        } catch {
            unsafe unlink(fresh)
            throw error
        }
        // Without this the old name may come back after a loss of power.
        let folder = path.lastIndex(of: "/").map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
        let descriptor = unsafe open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw failure("open the folder", folder) }
        defer { close(descriptor) }
        guard fsync(descriptor) == 0 else { throw failure("write the folder", folder) }
    }

    /// Reads a file; when `isSecret`, one that others could read is refused, as `ssh` does.
    static func read(_ path: String, isSecret: Bool, missingHint: String) throws -> [UInt8] {
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else {
            let remedy = errno == ENOENT ? missingHint : "check who may read it"
            throw TLSError(.file, "cannot read \(path): \(reason(errno)); \(remedy)")
        }
        defer { close(descriptor) }
        var status = stat()
        guard unsafe fstat(descriptor, &status) == 0 else { throw failure("read", path) }
        guard status.st_mode & S_IFMT == S_IFREG else {
            throw TLSError(.file, "cannot use \(path): it is not a file; name the identity file itself")
        }
        if isSecret, status.st_mode & 0o077 != 0 {
            let mode = String(status.st_mode & 0o777, radix: 8)
            throw TLSError(
                .file,
                "\(path) holds a private key but others may read it (mode \(mode)): run `chmod 600 \(path)`"
            )
        }
        guard status.st_size <= limitBytes else {
            throw TLSError(
                .file,
                "\(path) is \(status.st_size) bytes long, too large for keys and certificates; name another file"
            )
        }
        // Room for the file and for seeing its end; clearing the most that a file may have costs the CLI's start a millisecond.
        var bytes = [UInt8](repeating: 0, count: Int(status.st_size) + 1)
        var filled = 0
        while true {
            let count = unsafe bytes.withUnsafeMutableBytes {
                unsafe Glibc.read(
                    descriptor,
                    UnsafeMutableRawBufferPointer(rebasing: $0[filled...]).baseAddress,
                    $0.count - filled
                )
            }
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw failure("read", path) }
            if count == 0 { break }
            filled += count
            guard filled < bytes.count else {
                throw TLSError(.file, "\(path) was changed while it was read: try again")
            }
        }
        return Array(bytes.prefix(filled))
    }

    /// Makes the folder when it is missing; its parent must exist.
    static func makeFolder(_ path: String, mode: mode_t) throws {
        guard unsafe mkdir(path, mode) == 0 || errno == EEXIST else { throw failure("create the folder", path) }
    }

    private static func failure(_ doing: String, _ path: String) -> TLSError {
        TLSError(.file, "cannot \(doing) \(path): \(reason(errno)); check the file and the space on its disk")
    }

    private static func reason(_ number: Int32) -> String { unsafe String(cString: strerror(number)) }
}
