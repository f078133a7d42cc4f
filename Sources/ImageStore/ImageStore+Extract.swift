package import Checkpointing
package import ClusterModel
internal import LinuxSystem

extension ImageStore {
    /// Reads every stored byte of a checkpoint and decodes it; throws with file and region at the first thing that is wrong.
    ///
    /// With a rate above 0, one thread reads, no faster than that.
    @discardableResult
    package func verify(
        _ job: JobID,
        _ generation: CheckpointGeneration,
        bytesPerSecond: Int64 = 0
    ) async throws -> ImageIndex {
        let place = try place(job, generation)
        return try await WorkerThreads.run { cancellation in
            try self.reading(place) {
                let reader = try ImageReader(place, keychain: self.keychain)
                var configuration = self.configuration
                if bytesPerSecond > 0 { configuration.workerThreads = 1 }
                try reader.decodeAll(
                    into: nil,
                    configuration: configuration,
                    cancellation: cancellation,
                    bytesPerSecond: bytesPerSecond
                )
                return reader.index
            }
        }
    }

    /// Reads every stored byte of a checkpoint as `verify` does, and goes on where something is wrong, so that all damage is named.
    ///
    /// - Throws: `ImageStoreError` when there is no such checkpoint, or it cannot be read now; damage is in the result.
    package func examine(
        _ job: JobID,
        _ generation: CheckpointGeneration,
        bytesPerSecond: Int64 = 0,
        progress: @escaping @Sendable (ReadingProgress) -> Void = { _ in }
    ) async throws -> ImageExamination {
        let place = try place(job, generation)
        return try await WorkerThreads.run { cancellation in
            try self.reading(place) {
                do {
                    let reader = try ImageReader(place, keychain: self.keychain)
                    var configuration = self.configuration
                    if bytesPerSecond > 0 { configuration.workerThreads = 1 }
                    return try reader.examine(
                        configuration: configuration,
                        cancellation: cancellation,
                        bytesPerSecond: bytesPerSecond,
                        progress: progress
                    )
                } catch let error as ImageStoreError where error.code == .damaged || error.code == .futureVersion {
                    return ImageExamination(problem: "\(error)")
                }
            }
        }
    }

    /// Writes a checkpoint's files back as they were and returns what it holds; success means that every byte was checked.
    ///
    /// `imagesFolder` must be empty or absent; it gets mode 0700. The archive of the writable layer goes to `layerArchive`, where nothing may be;
    /// without that path it is only checked. On any error the files written are removed again.
    @discardableResult
    package func extract(
        _ job: JobID,
        _ generation: CheckpointGeneration,
        to imagesFolder: String,
        layerArchive: String?
    ) async throws -> ImageIndex {
        let place = try place(job, generation)
        return try await WorkerThreads.run { cancellation in
            try self.reading(place) {
                let reader = try ImageReader(place, keychain: self.keychain)
                let target = try ExtractionTarget(reader.index, imagesFolder: imagesFolder, layerArchive: layerArchive)
                try target.fill(from: reader, configuration: self.configuration, cancellation: cancellation)
                return reader.index
            }
        }
    }
}
