internal import CLinux
package import ClusterModel
internal import Glibc

/// Files and folders, without Foundation.
package enum FileSystem {
    /// What stat(2) tells about a file that the callers here need.
    package struct Status: Equatable, Sendable {
        /// The kind of a file.
        package enum Kind: Equatable, Sendable { case file, folder, symbolicLink, other }
        package var kind: Kind
        package var size: ByteCount
        /// Permission bits with setuid, setgid and sticky: `mode & 0o7777`.
        package var mode: UInt32
        /// Number of its owner.
        package var user: UInt32
        /// Number of its owning group.
        package var group: UInt32
        /// The file system that it lies on; `device` and `inode` together name a file as long as it exists.
        package var device: UInt64
        /// See `device`; used again for another file once this one is gone.
        package var inode: UInt64
        /// When the content last changed.
        package var modified: Timestamp
    }

    /// Space of the file system that holds a path.
    package struct Space: Equatable, Sendable {
        package var total: ByteCount
        /// What an ordinary user may still write; root may be able to write more.
        package var available: ByteCount
        /// Whether it lives in memory (tmpfs or ramfs).
        package var isMemory: Bool
    }

    // MARK: Reading

    /// Reads a whole file; refuses one longer than `limit` bytes with EFBIG.
    ///
    /// Works for /proc and cgroup files, whose size stat(2) gives as 0.
    package static func read(_ path: String, limit: Int = 1 << 20) throws(SystemError) -> [UInt8] {
        let descriptor = try OwnedDescriptor(opening: path, O_RDONLY)
        var bytes: [UInt8] = []
        while true {
            let part: [UInt8]
            do throws(SystemError) { part = try descriptor.read(upTo: min(64 << 10, limit + 1 - bytes.count)) } catch {
                throw SystemError("read", path, code: error.code)
            }
            if part.isEmpty { return bytes }
            bytes += part
            if bytes.count > limit {
                throw SystemError("read", path, code: EFBIG, remedy: "More than \(limit) bytes were not expected here.")
            }
        }
    }

    /// Reads a whole file as UTF-8; bytes that are none become U+FFFD.
    package static func readText(_ path: String, limit: Int = 1 << 20) throws(SystemError) -> String {
        String(decoding: try read(path, limit: limit), as: UTF8.self)
    }

    /// The first line of a file without white space around it.
    package static func readLine(_ path: String) throws(SystemError) -> String {
        let line = try read(path).prefix { $0 != 10 }
        return String(decoding: line, as: UTF8.self).trimmed
    }

    // MARK: Writing

    /// Writes into an existing file in one call: for kernel files, which take a value per write(2).
    package static func writeValue(_ value: String, to path: String) throws(SystemError) {
        let descriptor = try OwnedDescriptor(opening: path, O_WRONLY | O_TRUNC)
        var value = value
        let written = value.withUTF8 { text in
            unsafe write(descriptor.rawValue, text.baseAddress, text.count)
        }
        if written == -1 { throw SystemError.last("write \(value.trimmed) to", path) }
    }

    /// Replaces a file so that a crash at any moment leaves either the old content or the new, never a part.
    ///
    /// Temporary file in the same folder, fsync, rename, fsync of the folder.
    package static func writeAtomically(
        _ bytes: [UInt8],
        to path: String,
        mode: UInt32 = 0o644
    ) throws(SystemError) {
        let temporary = "\(path).\(getpid()).\(temporarySuffix()).tmp"
        do throws(SystemError) {
            let file = try OwnedDescriptor(opening: temporary, O_WRONLY | O_CREAT | O_EXCL, mode: mode)
            try file.write(bytes, path: temporary)
            let number = file.rawValue
            // open(2) applies the umask; the caller's mode is meant as it is.
            _ = try retrying("change the mode of", temporary) { fchmod(number, mode) }
            try file.synchronize(path: temporary)
            _ = try retrying("rename", temporary) { unsafe rename(temporary, path) }
        } catch {
            _ = unsafe unlink(temporary)
            throw error
        }
        try synchronizeFolder(of: path)
    }

    /// Replaces a file with text; see `writeAtomically(_:to:mode:)`.
    package static func writeAtomically(_ text: String, to path: String, mode: UInt32 = 0o644) throws(SystemError) {
        try writeAtomically(Array(text.utf8), to: path, mode: mode)
    }

    /// Replaces a small file at once without forcing it to disk; it needs no more space than the file has already.
    ///
    /// For what is written again and again and means nothing after a crash of the machine. The text before is kept as `PATH.new`, so that a
    /// file system that others have filled still takes the next one. Only one writer at a time.
    package static func replace(_ path: String, with text: String, mode: UInt32 = 0o600) throws(SystemError) {
        let spare = "\(path).new"
        do {
            let bytes = Array(text.utf8)
            let file = try OwnedDescriptor(opening: spare, O_WRONLY | O_CREAT, mode: mode)
            let number = file.rawValue
            _ = try retrying("change the mode of", spare) { fchmod(number, mode) }
            // Written over before it is cut: cutting first would give the space away.
            try file.write(bytes, path: spare)
            _ = try retrying("truncate", spare) { ftruncate(number, off_t(bytes.count)) }
        }
        if unsafe godwit_exchange(spare, path) == 0 { return }
        // There is no file yet, or its file system cannot swap.
        _ = try retrying("rename", spare) { unsafe rename(spare, path) }
    }

    /// Makes a new file with this mode whatever the umask; fails with EEXIST when there is one.
    package static func create(_ path: String, mode: UInt32) throws(SystemError) -> OwnedDescriptor {
        let file = try OwnedDescriptor(opening: path, O_RDWR | O_CREAT | O_EXCL, mode: mode)
        let number = file.rawValue
        _ = try retrying("change the mode of", path) { fchmod(number, mode) }
        return file
    }

    /// Has the folder that holds `path` remember its entries over a power failure.
    package static func synchronizeFolder(of path: String) throws(SystemError) {
        let folder = parent(of: path)
        try OwnedDescriptor(opening: folder, O_RDONLY | O_DIRECTORY).synchronize(path: folder)
    }

    // MARK: Folders

    /// Makes a folder and those above it that are missing; one that exists is left as it is.
    package static func createFolder(_ path: String, mode: UInt32 = 0o755) throws(SystemError) {
        if unsafe mkdir(path, mode) == 0 { return }
        switch errno {
        case EEXIST:
            guard status(path, followingLinks: true)?.kind == .folder else {
                throw SystemError("create folder", path, code: ENOTDIR)
            }
        case ENOENT where path.count > 1:
            try createFolder(parent(of: path), mode: mode)
            if unsafe mkdir(path, mode) != 0, errno != EEXIST { throw SystemError.last("create folder", path) }
        default: throw SystemError.last("create folder", path)
        }
    }

    /// The names in a folder, sorted, without `.` and `..`.
    package static func list(_ folder: String) throws(SystemError) -> [String] {
        guard let stream = unsafe opendir(folder) else { throw SystemError.last("list", folder) }
        defer { unsafe closedir(stream) }
        var names: [String] = []
        while let entry = unsafe readdir(stream) {
            let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) {
                unsafe $0.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe String(cString: $0) }
            }
            if name != "." && name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    /// Removes a file, or a folder with all that is in it, never following a link; nothing there is no error.
    package static func removeAll(_ path: String) throws(SystemError) {
        guard let status = status(path) else { return }
        if status.kind == .folder {
            for name in try list(path) { try removeAll("\(path)/\(name)") }
            if unsafe rmdir(path) != 0, errno != ENOENT { throw SystemError.last("remove folder", path) }
        } else if unsafe unlink(path) != 0, errno != ENOENT {
            throw SystemError.last("remove", path)
        }
    }

    /// Renames within one file system and waits until the new name would survive a power failure.
    package static func move(_ path: String, to target: String) throws(SystemError) {
        _ = try retrying("rename to \(target)", path) { unsafe rename(path, target) }
        try synchronizeFolder(of: target)
    }

    // MARK: Asking

    /// What is at a path; nil when nothing is, or it cannot be looked at.
    package static func status(_ path: String, followingLinks: Bool = false) -> Status? {
        var raw = stat()
        let failed = unsafe followingLinks ? stat(path, &raw) : lstat(path, &raw)
        guard failed == 0 else { return nil }
        let kind: Status.Kind =
            switch raw.st_mode & S_IFMT {
            case S_IFREG: .file
            case S_IFDIR: .folder
            case S_IFLNK: .symbolicLink
            default: .other
            }
        return Status(
            kind: kind,
            size: .bytes(Int64(raw.st_size)),
            mode: raw.st_mode & 0o7777,
            user: raw.st_uid,
            group: raw.st_gid,
            device: UInt64(raw.st_dev),
            inode: UInt64(raw.st_ino),
            modified: Timestamp(rawValue: Int64(raw.st_mtim.tv_sec) * 1_000_000_000 + Int64(raw.st_mtim.tv_nsec))
        )
    }

    /// Whether something is at a path, links followed.
    package static func exists(_ path: String) -> Bool { unsafe access(path, F_OK) == 0 }

    /// Whether a path can be run by this process.
    package static func isExecutable(_ path: String) -> Bool {
        unsafe access(path, X_OK) == 0 && status(path, followingLinks: true)?.kind == .file
    }

    /// Space of the file system that holds a path, which must exist.
    package static func space(at path: String) throws(SystemError) -> Space {
        var raw = godwit_file_system()
        _ = try retrying("ask for free space at", path) { unsafe godwit_statfs(path, &raw) }
        let (tmpfsMagic, ramfsMagic): (Int64, Int64) = (0x0102_1994, 0x8584_58f6)
        func amount(_ blocks: UInt64) -> ByteCount {
            .bytes(Int64(clamping: blocks.multipliedReportingOverflow(by: raw.block_size).partialValue))
        }
        return Space(
            total: amount(raw.blocks),
            available: amount(raw.blocks_available),
            isMemory: raw.type == tmpfsMagic || raw.type == ramfsMagic
        )
    }

    /// The folder part of a path: `/a/b` gives `/a`, `b` gives `.`.
    package static func parent(of path: String) -> String {
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }

    private static func temporarySuffix() -> String {
        var moment = timespec()
        _ = unsafe clock_gettime(CLOCK_MONOTONIC, &moment)
        return String(UInt64(moment.tv_sec) &* 1_000_000_000 &+ UInt64(moment.tv_nsec), radix: 36)
    }
}

/// Extended attributes of a file itself, links not followed.
package enum ExtendedAttributes {
    /// The names on a file, sorted; empty when the file system has none.
    package static func names(of path: String) throws(SystemError) -> [String] {
        let bytes: [UInt8]
        do throws(SystemError) {
            bytes = try unsafe growing("list attributes of", path) { buffer, size in
                unsafe godwit_list_attributes(path, buffer?.assumingMemoryBound(to: CChar.self), size)
            }
        } catch  where error.code == ENOTSUP {
            return []
        }
        return bytes.split(separator: 0).map { String(decoding: $0, as: UTF8.self) }.sorted()
    }

    /// The value of one attribute; nil when the file does not have it.
    package static func value(of name: String, on path: String) throws(SystemError) -> [UInt8]? {
        do throws(SystemError) {
            return try unsafe growing("read attribute \(name) of", path) { buffer, size in
                unsafe godwit_get_attribute(path, name, buffer, size)
            }
        } catch  where error.code == ENODATA || error.code == ENOTSUP {
            return nil
        }
    }

    /// Sets or replaces one attribute.
    package static func set(_ name: String, to value: [UInt8], on path: String) throws(SystemError) {
        _ = try retrying("set attribute \(name) of", path) {
            unsafe value.withUnsafeBytes { unsafe godwit_set_attribute(path, name, $0.baseAddress, $0.count) }
        }
    }

    /// Removes one attribute; fails with ENODATA when there is none.
    package static func remove(_ name: String, from path: String) throws(SystemError) {
        _ = try retrying("remove attribute \(name) of", path) { unsafe godwit_remove_attribute(path, name) }
    }

    /// Asks for the size, then for the bytes, and again when the value grew in between.
    private static func growing(
        _ operation: String,
        _ path: String,
        _ call: (UnsafeMutableRawPointer?, Int) -> Int64
    ) throws(SystemError) -> [UInt8] {
        while true {
            let size = try retrying(operation, path) { call(nil, 0) }
            if size == 0 { return [] }
            var bytes = [UInt8](repeating: 0, count: Int(size))
            let count = unsafe bytes.withUnsafeMutableBytes { unsafe call($0.baseAddress, $0.count) }
            if count >= 0 {
                bytes.removeLast(bytes.count - Int(count))
                return bytes
            }
            if errno != ERANGE { throw SystemError.last(operation, path) }
        }
    }
}

extension String {
    /// The text without white space at its ends.
    var trimmed: String {
        var text = self[...]
        while let last = text.last, last.isWhitespace { text.removeLast() }
        while let first = text.first, first.isWhitespace { text.removeFirst() }
        return String(text)
    }
}
