package import ClusterModel

/// Pages of processes as they were at a checkpoint, wherever they are: in the image store, or with a container that stands still on another node.
///
/// Called by one thread, which may be held up.
package protocol PageSource: Sendable {
    /// How much there is.
    var byteCount: ByteCount { get }
    /// Appends pages of a process from an address on, at least one and at most as many as asked for, and says how many.
    ///
    /// What it throws ends the container: no page may ever be wrong.
    func read(process: UInt64, address: UInt64, pageCount: UInt64, into output: inout [UInt8]) throws -> Int
    /// Makes the next read at this address quick.
    func prefetch(process: UInt64, address: UInt64)
    /// Lets go of everything, when no page is needed any more; it may be called again.
    func close()
}
