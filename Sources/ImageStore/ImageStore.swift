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
    /// What images are sealed and opened with; without a key they are stored unsealed.
    package let keychain: CheckpointKeychain
    let observer: StoreObserver?
    private let lock: PositionedFile
    /// Checkpoints in use: a count of readers, or -1 for one that is being changed.
    private let uses = Mutex<[CheckpointPlace: Int]>([:])
    /// Checkpoints that are being written and can be read meanwhile.
    let growing = Mutex<[CheckpointPlace: GrowingImage]>([:])
    /// Bytes of copies that are coming: what came of those whose length is not known yet, and all of the others.
    let arriving = Mutex(UInt64(0))
    /// Held while a job's folder comes or goes, so that none goes in which something is about to be made.
    private let folders = Mutex(())

    /// Opens a store, makes its folder if there is none, and clears away what a crash left half done.
    ///
    /// Only one process may have it open; a second one is refused.
    package init(
        folder: String,
        configuration: ImageStoreConfiguration = ImageStoreConfiguration(),
        keychain: CheckpointKeychain = CheckpointKeychain(),
        observer: StoreObserver? = nil
    ) throws {
        self.keychain = keychain
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
            try self.reading(place) { try ImageReader(place, keychain: self.keychain).index }
        }
    }

    /// Whether there is a checkpoint of this generation, good or not.
    package func contains(_ job: JobID, _ generation: CheckpointGeneration) async -> Bool {
        guard let place = try? place(job, generation) else { return false }
        return (try? await WorkerThreads.run { _ in FileSystem.exists(place.path) }) ?? false
    }

    /// Whether more is free on the disk than twice what is held back.
    package var hasRoom: Bool {
        guard let space = try? FileSystem.space(at: folder) else { return false }
        return space.available > configuration.reserve + configuration.reserve
    }

    /// What all checkpoints together occupy; data that several share counts once.
    package func totalStoredBytes() async throws -> ByteCount {
        try await WorkerThreads.run { _ in try self.occupiedNow() }
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
            if FileSystem.exists(parent), unsafe rmdir(parent) != 0, errno != ENOENT {
                throw SystemError.last("remove folder", parent)
            }
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

    private func occupiedNow() throws -> ByteCount {
        var (counted, sum): (Set<UInt64>, Int64) = ([], 0)
        for job in try jobsNow() {
            let parent = try jobFolder(job)
            guard FileSystem.status(parent)?.kind == .folder else { continue }
            for generation in try names(in: parent) where Self.generation(named: generation) != nil {
                for file in (try? FileSystem.list("\(parent)/\(generation)")) ?? [] {
                    var status = stat()
                    guard unsafe lstat("\(parent)/\(generation)/\(file)", &status) == 0,
                        status.st_nlink < 2 || counted.insert(UInt64(status.st_ino)).inserted
                    else { continue }
                    sum += Int64(status.st_size)
                }
            }
        }
        return .bytes(sum)
    }

    /// What is in a job's folder; nothing when the last of it has just gone.
    private func names(in folder: String) throws -> [String] {
        do throws(SystemError) { return try FileSystem.list(folder) } catch {
            guard error.isAbsent else { throw error }
            return []
        }
    }

    /// Makes the folder in which a generation is written, and the job's when there is none.
    func makeFolders(for place: CheckpointPlace) throws {
        let parent = FileSystem.parent(of: place.path)
        try folders.withLock { _ in
            if !FileSystem.exists(parent) {
                try FileSystem.createFolder(parent, mode: 0o700)
                try FileSystem.synchronizeFolder(of: parent)
            }
            try FileSystem.createFolder(place.partialPath, mode: 0o700)
        }
    }

    /// Removes what was written of a generation that does not come to be, and the job's folder with the last in it.
    ///
    /// What cannot be deleted now is cleared at the next opening.
    func giveUp(_ place: CheckpointPlace) {
        try? FileSystem.removeAll(place.partialPath)
        dropFolder(of: place)
    }

    private func dropFolder(of place: CheckpointPlace) {
        folders.withLock { _ in _ = unsafe rmdir(FileSystem.parent(of: place.path)) }
    }

    func recordsNow(of job: JobID) throws -> [CheckpointRecord] {
        try names(in: jobFolder(job)).compactMap(Self.generation(named:)).sorted().compactMap { generation in
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
            let reader = try ImageReader(place, keychain: keychain)
            record = CheckpointRecord(reader.index)
            record.seal = reader.seal
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
            dropFolder(of: place)
            try observer?(.removalCleared)
        }
    }

    private func clearLeftovers() throws {
        try FileSystem.removeAll(arrivals)
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
            // Of a job whose checkpoints are all gone; a folder with anything in it stays.
            _ = unsafe rmdir(parent)
        }
    }

    /// Runs `body` while no one changes this checkpoint.
    func reading<Result>(_ place: CheckpointPlace, _ body: () throws -> Result) throws -> Result {
        try beginReading(place)
        defer { endReading(place) }
        return try body()
    }

    /// Keeps others from changing this checkpoint until `endReading`.
    func beginReading(_ place: CheckpointPlace) throws {
        try uses.withLock { uses in
            guard uses[place, default: 0] >= 0 else { throw busy(place) }
            uses[place, default: 0] += 1
        }
        guard FileSystem.exists(place.path) else {
            endReading(place)
            throw notFound(place)
        }
    }

    func endReading(_ place: CheckpointPlace) {
        uses.withLock { uses in
            let readers = uses[place, default: 1] - 1
            uses[place] = readers == 0 ? nil : readers
        }
    }

    /// Runs `body` while no one else uses this checkpoint.
    func changing<Result>(_ place: CheckpointPlace, _ body: () throws -> Result) throws -> Result {
        try beginChanging(place)
        defer { endChanging(place) }
        return try body()
    }

    /// Keeps others from using this checkpoint until `endChanging`.
    func beginChanging(_ place: CheckpointPlace) throws {
        try uses.withLock { uses in
            guard uses[place] == nil else { throw busy(place) }
            uses[place] = -1
        }
    }

    func endChanging(_ place: CheckpointPlace) { uses.withLock { $0[place] = nil } }

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
    static func generation(named name: String) -> CheckpointGeneration? {
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
        sharedBytes = index.sharedBytes
    }
}
