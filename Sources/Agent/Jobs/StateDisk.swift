import ClusterModel
import LinuxSystem
import Synchronization

/// Whether the file system of the state folder has room for another container.
///
/// A node without it starts nothing and takes nothing new: what is placed there would fail at once, and a node whose jobs fail at once looks
/// free.
final class StateDisk: Sendable {
    private let folder: String
    private let available: @Sendable (String) -> ByteCount?
    private let isFull = Mutex(false)

    /// Below this there is no room; as much again must be free before there is room once more, so that it does not change its mind
    /// with every log line.
    static let minimumFree = ByteCount.mebibytes(8)

    /// Looks at the file system that holds a folder.
    ///
    /// `available` says how much is free there; nil when nobody can tell, which counts as room.
    init(
        folder: String,
        available: @escaping @Sendable (String) -> ByteCount? = { try? FileSystem.space(at: $0).available }
    ) {
        (self.folder, self.available) = (folder, available)
    }

    /// What is wrong, with the remedy; nil when there is room.
    ///
    /// Looks anew each time; that is one call of the kernel.
    func problem() -> String? {
        guard let free = available(folder) else { return nil }
        let isFull = isFull.withLock { isFull in
            isFull = free < (isFull ? Self.minimumFree + Self.minimumFree : Self.minimumFree)
            return isFull
        }
        return isFull
            ? "The disk of \(folder) is full (\(free) free): no container is started on this node. Free space there, or move folders.state."
            : nil
    }
}
