package import Checkpointing
package import ClusterModel
internal import Glibc
internal import LinuxSystem
internal import Synchronization

/// The checkpoints that a node keeps on its disk.
///
/// Each generation of a job is a folder `JOB/GENERATION` with a `data` file, an `index`, and, when something was found wrong, a file `damaged`.
/// It gets its name by one rename after all of it is durable, so a crash at any moment leaves a generation in full or not at all. The calls here block on
/// threads of the store's own and never on Swift's.
package final class ImageStore: Sendable {
    /// The folder; mode 0700, since images hold whatever the job had in memory.
    package let folder: String
    package let configuration: ImageStoreConfiguration
    let observer: StoreObserver?
    private let lock: PositionedFile
    /// Checkpoints in use: a count of readers, or -1 for one that is being changed.
    private let uses = Mutex<[CheckpointPlace: Int]>([:])

    /// Opens a store, makes its folder if there is none, and clears away what a crash left half done.
    ///
    /// Only one process may have it open; a second one is refused.
    package init(
        folder: String,
        configuration: ImageStoreConfiguration = ImageStoreConfiguration(),
        observer: StoreObserver? = nil
    ) throws {
        self.folder = folder
        self.configuration = configuration
        self.observer = observer
        if !FileSystem.exists(folder) {
            try FileSystem.createFolder(folder, mode: 0o700)
            try FileSystem.synchronizeFolder(of: folder)
        }
        guard unsafe chmod(folder, 0o700) == 0 else { throw SystemError.last("change the mode of", folder) }
        lock = try PositionedFile("\(folder)/.lock", O_RDWR | O_CREAT)
        guard try lock.tryLock() else {
            throw ImageStoreError(
                .busy,
                "Another agent uses the checkpoints in \(folder); stop it, or give this one another state folder."
            )
        }
        try clearLeftovers()
    }

    deinit { lock.unlock() }

    /// Every job that has checkpoints here, sorted.
    package func jobs() async throws -> [JobID] {
        try await WorkerThreads.run { _ in try self.jobsNow() }
    }

    /// The checkpoints of a job, oldest first; a generation whose index cannot be read is listed as damaged.
    package func generations(of job: JobID) async throws -> [CheckpointRecord] {
        try await WorkerThreads.run { _ in try self.recordsNow(of: job) }
    }

    /// The checkpoints of all jobs, by job and generation.
    package func allGenerations() async throws -> [CheckpointRecord] {
        try await WorkerThreads.run { _ in try self.jobsNow().flatMap { try self.recordsNow(of: $0) } }
    }

    /// What a checkpoint holds, without reading its data: index, header and lengths must be in order.
    package func inspect(_ job: JobID, _ generation: CheckpointGeneration) async throws -> ImageIndex {
        let place = try place(job, generation)
        return try await WorkerThreads.run { _ in
            try self.reading(place) { try ImageReader(place).index }
        }
    }

    /// What all checkpoints together occupy.
    package func totalStoredBytes() async throws -> ByteCount {
        try await allGenerations().reduce(.zero) { $0 + $1.storedBytes }
    }

    /// Removes a checkpoint; when the call returns, it is gone for good.
    package func remove(_ job: JobID, _ generation: CheckpointGeneration) async throws {
        let place = try place(job, generation)
        try await WorkerThreads.run { _ in try self.removeNow(place) }
    }

    /// Removes all checkpoints of a job.
    package func removeAll(of job: JobID) async throws {
        let parent = try jobFolder(job)
        try await WorkerThreads.run { _ in
            for record in try self.recordsNow(of: job) { try self.removeNow(self.place(job, record.generation)) }
            if unsafe rmdir(parent) != 0, errno != ENOENT { throw SystemError.last("remove folder", parent) }
        }
    }

    /// Removes what a policy does not keep of one job, or of all, and tells what it removed.
    ///
    /// Those in use stay until the next call.
    @discardableResult
    package func retire(
        keeping policy: RetentionPolicy,
        of job: JobID? = nil,
        arriving: ByteCount = .zero
    ) async throws -> [CheckpointRecord] {
        try await WorkerThreads.run { cancellation in
            let records = try (job.map { [$0] } ?? self.jobsNow()).flatMap { try self.recordsNow(of: $0) }
            var removed: [CheckpointRecord] = []
            for record in policy.retired(amongAll: records, arriving: arriving) {
                try cancellation.check()
                do {
                    try self.removeNow(self.place(record.job, record.generation))
                    removed.append(record)
                } catch let error as ImageStoreError where error.code == .busy || error.code == .notFound {
                    continue
                }
            }
            return removed
        }
    }

    /// Marks a checkpoint as damaged, durably, so that no restore takes it again; the first reason stays.
    package func markDamaged(_ job: JobID, _ generation: CheckpointGeneration, reason: String) async throws {
        let place = try place(job, generation)
        try await WorkerThreads.run { _ in
            try self.reading(place) {
                guard !FileSystem.exists(place.damagePath) else { return }
                try FileSystem.writeAtomically(String(reason.prefix(4096)), to: place.damagePath, mode: 0o600)
                try self.observer?(.marked)
            }
        }
    }
}

// MARK: On the store's own threads

extension ImageStore {
    func jobsNow() throws -> [JobID] {
        try FileSystem.list(folder).filter { Self.isJobName($0) && $0 != ".lock" }.map(JobID.init(rawValue:))
    }

    func recordsNow(of job: JobID) throws -> [CheckpointRecord] {
        let parent = try jobFolder(job)
        guard FileSystem.exists(parent) else { return [] }
        return try FileSystem.list(parent).compactMap(Self.generation(named:)).sorted().compactMap { generation in
            record(try place(job, generation))
        }
    }

    /// What the catalog says of one generation; nil when it vanished meanwhile.
    private func record(_ place: CheckpointPlace) -> CheckpointRecord? {
        var record = CheckpointRecord(
            job: place.job,
            incarnation: Incarnation(rawValue: 0),
            generation: place.generation,
            taken: .epoch,
            frozen: .zero,
            total: .zero,
            rawBytes: .zero,
            storedBytes: .zero,
            ledger: .zero
        )
        do {
            record = CheckpointRecord(try ImageReader(place).index)
        } catch {
            guard FileSystem.exists(place.path) else { return nil }
            record.damage = "\(error)"
        }
        record.storedBytes = [place.dataPath, place.indexPath].reduce(.zero) {
            $0 + (FileSystem.status($1)?.size ?? .zero)
        }
        if FileSystem.exists(place.damagePath) {
            record.damage = (try? FileSystem.readText(place.damagePath)) ?? "it was marked as damaged"
        }
        return record
    }

    func removeNow(_ place: CheckpointPlace) throws {
        try changing(place) {
            guard FileSystem.exists(place.path) else { throw notFound(place) }
            try FileSystem.removeAll(place.removedPath)
            guard unsafe rename(place.path, place.removedPath) == 0 else {
                throw ImageStoreError.system(.last("rename", place.path), doing: "A checkpoint could not be removed")
            }
            try observer?(.removalRenamed)
            try FileSystem.synchronizeFolder(of: place.path)
            try observer?(.removalSynchronized)
            try FileSystem.removeAll(place.removedPath)
            try observer?(.removalCleared)
        }
    }

    private func clearLeftovers() throws {
        for job in try jobsNow() {
            let parent = try jobFolder(job)
            guard FileSystem.status(parent)?.kind == .folder else { continue }
            for name in try FileSystem.list(parent) {
                if name.hasSuffix(".partial") || name.hasSuffix(".removed") {
                    try FileSystem.removeAll("\(parent)/\(name)")
                } else if Self.generation(named: name) != nil {
                    for file in try FileSystem.list("\(parent)/\(name)") where file.hasSuffix(".tmp") {
                        try FileSystem.removeAll("\(parent)/\(name)/\(file)")
                    }
                }
            }
        }
    }

    /// Runs `body` while no one changes this checkpoint.
    func reading<Result>(_ place: CheckpointPlace, _ body: () throws -> Result) throws -> Result {
        try uses.withLock { uses in
            guard uses[place, default: 0] >= 0 else { throw busy(place) }
            uses[place, default: 0] += 1
        }
        defer {
            uses.withLock { uses in
                let readers = uses[place, default: 1] - 1
                uses[place] = readers == 0 ? nil : readers
            }
        }
        guard FileSystem.exists(place.path) else { throw notFound(place) }
        return try body()
    }

    /// Runs `body` while no one else uses this checkpoint.
    func changing<Result>(_ place: CheckpointPlace, _ body: () throws -> Result) throws -> Result {
        try uses.withLock { uses in
            guard uses[place] == nil else { throw busy(place) }
            uses[place] = -1
        }
        defer { uses.withLock { $0[place] = nil } }
        return try body()
    }

    private func busy(_ place: CheckpointPlace) -> ImageStoreError {
        ImageStoreError(
            .busy,
            "Checkpoint \(place.generation) of job \(place.job) is being read or written; try again when that is done."
        )
    }

    func notFound(_ place: CheckpointPlace) -> ImageStoreError {
        ImageStoreError(
            .notFound,
            "Job \(place.job) has no checkpoint \(place.generation) in \(folder); `godwit job show` lists those there are."
        )
    }
}

// MARK: Names

extension ImageStore {
    func place(_ job: JobID, _ generation: CheckpointGeneration) throws -> CheckpointPlace {
        CheckpointPlace(job: job, generation: generation, path: "\(try jobFolder(job))/\(generation)")
    }

    func jobFolder(_ job: JobID) throws -> String {
        guard Self.isJobName(job.rawValue) else {
            throw ImageStoreError(.unsuitable, "\"\(job)\" cannot be the identity of a job.")
        }
        return "\(folder)/\(job)"
    }

    /// Letters, digits, `-` and `_`, 1 to 88 of them: what cannot leave the folder nor look like something else in it.
    private static func isJobName(_ name: String) -> Bool {
        (1...DataFileHeader.jobByteLimit).contains(name.utf8.count)
            && name.utf8.allSatisfy {
                switch $0 {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"):
                    true
                default: false
                }
            }
    }

    /// The generation that a folder's name says, in the one spelling that the store writes.
    private static func generation(named name: String) -> CheckpointGeneration? {
        guard let number = UInt32(name), String(number) == name else { return nil }
        return CheckpointGeneration(rawValue: number)
    }
}

extension CheckpointRecord {
    /// What an index says, without `storedBytes` of the index itself.
    init(_ index: ImageIndex) {
        self.init(
            job: index.job,
            incarnation: index.incarnation,
            generation: index.generation,
            taken: index.taken,
            frozen: index.frozen,
            total: index.total,
            rawBytes: index.rawBytes,
            storedBytes: .bytes(Int64(clamping: index.dataLength)),
            ledger: index.ledger
        )
    }
}
