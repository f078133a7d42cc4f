import Glibc

/// Small files of secrets that change: readable by their owner alone, and never half written.
package enum SecretStore {
    /// Puts these bytes in the place of the file, with mode 0600.
    ///
    /// They are on disk when the call returns; after a crash the file holds the old bytes or the new ones.
    /// - Throws: `TLSError` with code `file`, which says what to do.
    package static func replace(_ path: String, with bytes: [UInt8]) throws {
        let temporary = path + ".new"
        // Left by a process that ended between the two steps.
        unsafe unlink(temporary)
        try SecretFile.create(
            temporary,
            mode: 0o600,
            bytes,
            replaceHint: "another process writes it at this moment; try again"
        )
        guard unsafe rename(temporary, path) == 0 else {
            let reason = unsafe String(cString: strerror(errno))
            unsafe unlink(temporary)
            throw TLSError(
                .file,
                "cannot replace \(path): \(reason); check that it is a file in a folder that you may write to"
            )
        }
        let folder = path.lastIndex(of: "/").map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
        let descriptor = unsafe open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { return }
        // Without it a crash could bring the old name back; file systems that cannot do it say so and lose nothing else.
        fsync(descriptor)
        close(descriptor)
    }

    /// Reads the file; one that others could read is refused.
    /// - Throws: `TLSError` with code `file`, which says what to do; `missingHint` is its remedy for a file that is not there.
    package static func read(_ path: String, missingHint: String) throws -> [UInt8] {
        try SecretFile.read(path, isSecret: true, missingHint: missingHint)
    }
}
