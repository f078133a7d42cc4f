import Checkpointing
import ClusterModel
import ImageStore
import LinuxSystem

/// The checkpoints on this node's disk.
struct SystemCheckpointStore: CheckpointStore {
    private let store: ImageStore
    /// Bytes that all checkpoints together may take.
    private let spaceLimit: ByteCount

    init(store: ImageStore, spaceLimit: ByteCount) { (self.store, self.spaceLimit) = (store, spaceLimit) }

    func store(
        _ request: CheckpointRequest,
        folders: CheckpointFolders,
        hasLayer: Bool,
        moment: CheckpointMoment
    ) async throws -> CheckpointRecord {
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
            )
        )
    }

    func catalog() async throws -> [CheckpointRecord] { try await store.allGenerations() }

    func check(job: JobID, generation: CheckpointGeneration) async throws {
        try await translated { _ = try await store.inspect(job, generation) }
    }

    func extract(
        job: JobID,
        generation: CheckpointGeneration,
        into folders: CheckpointFolders
    ) async throws -> Bool {
        try await translated {
            _ = try await store.extract(job, generation, to: folders.images, layerArchive: folders.layer)
        }
        return FileSystem.exists(folders.layer)
    }

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

    /// Says of an error whether the images are at fault.
    private func translated(_ body: () async throws -> Void) async throws {
        do {
            try await body()
        } catch let error as ImageStoreError {
            throw error.restoreProblem
        }
    }
}
