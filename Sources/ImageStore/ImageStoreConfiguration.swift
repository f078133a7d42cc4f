package import ClusterModel
internal import Glibc

/// How an image store works.
package struct ImageStoreConfiguration: Sendable, Equatable {
    /// Threads that compress or decompress one checkpoint; 1...64, default one per core.
    package var workerThreads: Int
    /// LZ4's own trade of speed against size: 1 (smallest) to 65,537; default 1.
    package var acceleration: Int
    /// Whether each region gets a SHA-256 of its content; default false.
    ///
    /// They make equal regions of checkpoints findable, and cost about as much CPU time as the compression.
    package var contentHashes: Bool
    /// What is left free on the disk; default 256 MiB.
    ///
    /// A checkpoint that would take it is refused before it is written.
    package var reserve: ByteCount
    /// Added to the nice value of the worker threads, 0...19; default 5, so that the agent itself is never late because of them.
    package var niceness: Int

    /// Makes a configuration; values out of range are taken to the nearest one in range.
    package init(
        workerThreads: Int? = nil,
        acceleration: Int = 1,
        contentHashes: Bool = false,
        reserve: ByteCount = .mebibytes(256),
        niceness: Int = 5
    ) {
        self.workerThreads = min(64, max(1, workerThreads ?? sysconf(Int32(_SC_NPROCESSORS_ONLN))))
        self.acceleration = min(65_537, max(1, acceleration))
        self.contentHashes = contentHashes
        self.reserve = max(.zero, reserve)
        self.niceness = min(19, max(0, niceness))
    }
}

/// What the file system has been asked for so far while the store changes; tests look at the folder at each of these moments.
package enum StoreStep: Sendable, Equatable {
    /// The folder that is not yet a generation exists.
    case partialCreated
    case dataCreated
    /// Some regions were written; their end is in bytes of the data file.
    case dataWritten(end: UInt64)
    case dataSynchronized
    case indexWritten
    case indexSynchronized
    /// The names in the partial folder are durable.
    case partialSynchronized
    /// It has its name.
    case renamed
    /// Its name is durable: the checkpoint exists.
    case published
    /// A generation lost its name.
    case removalRenamed
    /// That is durable: the checkpoint is gone.
    case removalSynchronized
    case removalCleared
    /// The mark of a damaged generation is durable.
    case marked
}

/// Called after each step; what it throws ends the change as a failing file system would.
package typealias StoreObserver = @Sendable (StoreStep) throws -> Void
