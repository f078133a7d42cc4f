package import ClusterModel

/// Names one image by what it contains, so that a restored container gets exactly the files that it was dumped on.
///
/// `sha256-HEX` is an OCI manifest; `tar-HEX` a root file system tar, by path, size, time and inode; `folder-HEX` a folder, by path.
package struct ImageKey: Identifier {
    package let rawValue: String
    package init(rawValue: String) { self.rawValue = rawValue }
}

/// An image that is unpacked on this node and can be run.
package struct PreparedImage: Sendable, Codable, Equatable {
    package var key: ImageKey
    /// The unpacked root file system; shared, never written.
    package var rootFolder: String
    /// The program and first arguments that the image runs; empty when it names none.
    package var entryPoint: [String]
    /// Further arguments, which a job's own command replaces together with the entry point.
    package var command: [String]
    /// `NAME=VALUE` each.
    package var environment: [String]
    /// Where its program starts, an absolute path; nil when it names none, which means `/`.
    package var workingDirectory: String?
    /// `NAME`, `UID`, `NAME:GROUP` or `UID:GID` as the image has it; nil when it names none, which means root.
    package var user: String?
    /// The signal that the image wants to be stopped with, if not SIGTERM.
    package var stopSignal: Int32?
    /// What it takes on disk; zero for a folder that is not ours.
    package var size: ByteCount

    package init(key: ImageKey, rootFolder: String) {
        (self.key, self.rootFolder) = (key, rootFolder)
        (entryPoint, command, environment) = ([], [], [])
        size = .zero
    }
}
