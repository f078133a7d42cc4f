import Checkpointing
import ClusterModel
import ClusterState
import ImageStore
import LinuxSystem

/// The checkpoints on this node's disk.
struct SystemCheckpointStore: CheckpointStore {
    private let store: ImageStore
    /// Bytes that all checkpoints together may take.
    private let spaceLimit: ByteCount
    /// The cluster's keys, as this node knows them.
    private let keys: @Sendable () async -> [CheckpointKey]
    /// Whether every node can read checkpoints that share data with earlier ones.
    private let sharesData: @Sendable () async -> Bool

    /// What copies for other nodes leave of `spaceLimit` to this node's own checkpoints.
    private var copyLimit: ByteCount { ByteCount(rawValue: spaceLimit.rawValue / 5 * 4) }

    init(
        store: ImageStore,
        spaceLimit: ByteCount,
        keys: @escaping @Sendable () async -> [CheckpointKey] = { [] },
        sharesData: @escaping @Sendable () async -> Bool = { true }
    ) {
        self.sharesData = sharesData
        (self.store, self.spaceLimit, self.keys) = (store, spaceLimit, keys)
    }

    /// Takes over the keys that the cluster has now.
    private func refreshKeys() async {
        let known = await keys().map { ($0.number, $0.secret.bytes) }
        store.keychain.replace(with: Dictionary(known) { first, _ in first })
    }

    func store(
        _ request: CheckpointRequest,
        folders: CheckpointFolders,
        hasLayer: Bool,
        moment: CheckpointMoment,
        onGrowing: @escaping @Sendable () -> Void
    ) async throws -> CheckpointRecord {
        await refreshKeys()
        let used = try await store.totalStoredBytes()
        guard used < spaceLimit else {
            throw ImageStoreError(
                .noSpace,
                "Checkpoints take \(used) on this node, which is the bound (checkpoints.spaceLimit: \(spaceLimit)). Raise it, or let "
                    + "jobs keep fewer generations."
            )
        }
        return try await store.store(
            ImageSource(
                job: request.job,
                incarnation: request.incarnation,
                generation: request.generation,
                taken: moment.taken,
                ledger: moment.ledger,
                frozen: moment.frozen,
                elapsed: moment.elapsed,
                imagesFolder: folders.images,
                layerArchive: hasLayer ? folders.layer : nil
            ),
            sharing: await sharesData(),
            onGrowing: onGrowing
        )
    }

    func growing(job: JobID, generation: CheckpointGeneration) -> (any CopyData)? {
        store.growing(job, generation)
    }

    func catalog() async throws -> [CheckpointRecord] {
        await refreshKeys()
        return try await store.allGenerations()
    }

    func check(job: JobID, generation: CheckpointGeneration) async throws {
        await refreshKeys()
        try await judged { _ = try await store.inspect(job, generation) }
    }

    func extract(
        job: JobID,
        generation: CheckpointGeneration,
        into folders: CheckpointFolders,
        lazily: Bool
    ) async throws -> ExtractedImages {
        await refreshKeys()
        var pages: StoredPages?
        try await judged {
            if lazily {
                pages = try await store.extractWithoutMemory(
                    job,
                    generation,
                    to: folders.images,
                    layerArchive: folders.layer,
                    minimum: Self.lazyMinimum
                ).pages
            } else {
                _ = try await store.extract(job, generation, to: folders.images, layerArchive: folders.layer)
            }
        }
        return ExtractedImages(hasLayer: FileSystem.exists(folders.layer), pages: pages.map(StoredPageSource.init))
    }

    /// The least memory for which it is worth to start a program that fetches it.
    private static let lazyMinimum = ByteCount.mebibytes(32)

    func markDamaged(job: JobID, generation: CheckpointGeneration, reason: String) async throws {
        try await store.markDamaged(job, generation, reason: reason)
    }

    func remove(job: JobID, generation: CheckpointGeneration) async throws {
        do {
            try await store.remove(job, generation)
        } catch let error as ImageStoreError where error.code == .notFound {
            return
        }
    }

    // MARK: Copies

    func contains(job: JobID, generation: CheckpointGeneration) async -> Bool {
        await store.contains(job, generation)
    }

    func verify(job: JobID, generation: CheckpointGeneration, bytesPerSecond: Int64) async throws {
        await refreshKeys()
        try await translated { _ = try await store.verify(job, generation, bytesPerSecond: bytesPerSecond) }
    }

    func examine(
        job: JobID,
        generation: CheckpointGeneration,
        bytesPerSecond: Int64,
        progress: @escaping @Sendable (ReadingProgress) -> Void
    ) async throws -> ImageExamination {
        await refreshKeys()
        return try await translated {
            try await store.examine(job, generation, bytesPerSecond: bytesPerSecond, progress: progress)
        }
    }

    func outgoing(
        job: JobID,
        generation: CheckpointGeneration,
        held: [CheckpointGeneration]
    ) async throws -> any OutgoingCopy {
        await refreshKeys()
        return try await translated { try await store.outgoing(job, generation, held: held) }
    }

    func export(
        job: JobID,
        generation: CheckpointGeneration,
        description: [UInt8],
        document: [UInt8]
    ) async throws -> any OutgoingArchive {
        await refreshKeys()
        return try await store.export(job, generation, description: description, document: document)
    }

    func receiveArchive() async throws -> any IncomingArchive {
        await refreshKeys()
        let used = try await store.totalStoredBytes()
        guard used < spaceLimit else {
            throw CopyProblem.unavailable(
                reason:
                    "Checkpoints take \(used) on this node, which is the bound (checkpoints.spaceLimit: \(spaceLimit))."
            )
        }
        return try await store.receiveArchive()
    }

    func incoming(
        job: JobID,
        generation: CheckpointGeneration,
        sharing: Bool
    ) async throws -> any IncomingCopy {
        await refreshKeys()
        let used = try await store.totalStoredBytes()
        guard used < copyLimit else {
            throw CopyProblem.unavailable(
                reason:
                    "Checkpoints take \(used) on this node, and copies for others leave a fifth of checkpoints.spaceLimit (\(spaceLimit)) free."
            )
        }
        return TranslatedIncomingCopy(
            copy: try await translated {
                try await store.incoming(job, generation, sharing: sharing, room: copyLimit - used)
            }
        )
    }

    func space() async -> (used: ByteCount, bound: ByteCount)? {
        guard let used = try? await store.totalStoredBytes() else { return nil }
        return (used, spaceLimit)
    }

    func isNearlyFull() async -> Bool {
        guard let used = try? await store.totalStoredBytes() else { return true }
        return used.rawValue >= copyLimit.rawValue / 10 * 9 || !store.hasRoom
    }

    /// Says of an error whether the images are at fault.
    private func judged(_ body: () async throws -> Void) async throws {
        do {
            try await body()
        } catch let error as ImageStoreError {
            throw error.restoreProblem
        }
    }
}

/// The memory of a stored checkpoint, for a container that runs before it is there.
private struct StoredPageSource: PageSource {
    private let pages: StoredPages

    init(_ pages: StoredPages) { self.pages = pages }

    var byteCount: ByteCount { pages.byteCount }

    func read(process: UInt64, address: UInt64, pageCount: UInt64, into output: inout [UInt8]) throws -> Int {
        do {
            return try pages.read(process: process, address: address, pageCount: pageCount, into: &output)
        } catch let error as ImageStoreError {
            throw error.restoreProblem
        }
    }

    func prefetch(process: UInt64, address: UInt64) { pages.prefetch(process: process, address: address) }
    func close() { pages.close() }
}
