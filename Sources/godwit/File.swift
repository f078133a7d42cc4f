import Glibc

/// Whole files, read and written with system calls.
enum File {
    /// The largest job document, as proto/control.proto promises.
    static let documentLimitBytes = 1 << 20

    /// Reads a file of at most `limit` bytes.
    static func read(_ path: String, limit: Int = documentLimitBytes) throws -> [UInt8] {
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw CommandFailure(.failure, "cannot open \(path): \(reason())") }
        defer { close(descriptor) }
        return try readAll(descriptor, name: path, limit: limit)
    }

    /// Reads standard input to its end.
    static func readStandardInput() throws -> [UInt8] {
        try readAll(STDIN_FILENO, name: "standard input", limit: documentLimitBytes)
    }

    /// Replaces a file at once: a reader sees the old or the new content, never half of one.
    static func replace(_ path: String, with bytes: [UInt8], mode: mode_t = 0o644) throws {
        let temporary = "\(path).\(getpid()).new"
        let descriptor = unsafe open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode)
        guard descriptor >= 0 else { throw CommandFailure(.failure, "cannot create \(temporary): \(reason())") }
        let problem = write(bytes, to: descriptor)
        close(descriptor)
        if let problem {
            unsafe unlink(temporary)
            throw CommandFailure(.failure, "cannot write \(path): \(unsafe String(cString: strerror(problem)))")
        }
        if unsafe rename(temporary, path) != 0 {
            let why = reason()
            unsafe unlink(temporary)
            throw CommandFailure(.failure, "cannot replace \(path): \(why)")
        }
    }

    /// The folder in which the program was started.
    static func workingDirectory() throws -> String {
        guard let path = unsafe getcwd(nil, 0) else {
            throw CommandFailure(.failure, "cannot tell the working directory: \(reason())")
        }
        defer { unsafe free(path) }
        return unsafe String(cString: path)
    }

    /// The absolute path of the folder that holds `path`, with symbolic links resolved.
    static func folder(of path: String) throws -> String {
        guard let resolved = unsafe realpath(path, nil) else {
            throw CommandFailure(.failure, "cannot open \(path): \(reason())")
        }
        defer { unsafe free(resolved) }
        let text = unsafe String(cString: resolved)
        guard let slash = text.lastIndex(of: "/"), slash > text.startIndex else { return "/" }
        return String(text[..<slash])
    }

    /// Writes all bytes; the error number when that failed.
    static func write(_ bytes: [UInt8], to descriptor: Int32) -> Int32? {
        var offset = 0
        while offset < bytes.count {
            let count = unsafe bytes.withUnsafeBytes {
                unsafe Glibc.write(descriptor, $0.baseAddress?.advanced(by: offset), bytes.count - offset)
            }
            if count >= 0 {
                offset += count
            } else if errno == EAGAIN {
                var waited = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                _ = unsafe poll(&waited, 1, -1)
            } else if errno != EINTR {
                return errno
            }
        }
        return nil
    }

    private static func readAll(_ descriptor: Int32, name: String, limit: Int) throws -> [UInt8] {
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            let count = unsafe chunk.withUnsafeMutableBytes { unsafe Glibc.read(descriptor, $0.baseAddress, $0.count) }
            if count < 0 {
                if errno == EINTR { continue }
                throw CommandFailure(.failure, "cannot read \(name): \(reason())")
            }
            if count == 0 { return bytes }
            bytes += chunk[..<count]
            guard bytes.count <= limit else {
                throw CommandFailure(.failure, "\(name) is larger than \(limit >> 10) KiB; is it the right file?")
            }
        }
    }

    private static func reason() -> String { unsafe String(cString: strerror(errno)) }
}
