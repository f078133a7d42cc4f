import Checkpointing
import ClusterModel
import ImageStore
import Synchronization

@testable import Agent

/// Checkpoints without a disk; each generation can be damaged, and storing can be made to fail or to wait.
final class InMemoryCheckpointStore: CheckpointStore {
    private struct Key: Hashable {
        var job: JobID
        var generation: CheckpointGeneration
    }

    private struct State {
        var records: [Key: CheckpointRecord] = [:]
        var layers: Set<Key> = []
        var indexDamage: [Key: String] = [:]
        var dataDamage: [Key: String] = [:]
        var storeFailures: [String] = []
        var extractFailures: [RestoreProblem] = []
        var removeFailures: [any Error] = []
        var gate: Gate?
        var removalGate: Gate?
        /// Bytes that are taken in before an index.
        var earlyLimit: UInt64?
        var growing: [Key: Growing] = [:]
        var isLazy = false
        var isFull = false
        var bound = ByteCount.gibibytes(64)
        var incomingRefusal: String?
        var foreign: Set<Key> = []
        /// What is being taken in.
        var coming: [Key: UInt64] = [:]
        var rotten: Set<Key> = []
        var indexLength: Int?
        var readFailures: [String] = []
        var readOffsets: [UInt64] = []
    }

    private let state = Mutex(State())
    /// The number of the key that is sealed with now; nil while there is none.
    private let newestKey: @Sendable () async -> UInt64?

    init(newestKey: @escaping @Sendable () async -> UInt64? = { nil }) { self.newestKey = newestKey }

    private func seal(_ job: JobID, _ generation: CheckpointGeneration) async -> ImageSeal? {
        await newestKey().map { ImageSeal(key: $0, digest: Self.digest(job, generation)) }
    }

    // MARK: What a test plants and reads

    func put(_ record: CheckpointRecord, hasLayer: Bool = false) {
        state.withLock { state in
            let key = Key(job: record.job, generation: record.generation)
            state.records[key] = record
            if hasLayer { state.layers.insert(key) }
        }
    }

    func generations(of job: JobID) -> [UInt32] {
        state.withLock { $0.records.keys.filter { $0.job == job }.map(\.generation.rawValue).sorted() }
    }

    func record(_ job: JobID, _ generation: UInt32) -> CheckpointRecord? {
        state.withLock { $0.records[Key(job: job, generation: .init(rawValue: generation))] }
    }

    /// A damage that a look at the index finds.
    func damageIndex(_ job: JobID, _ generation: UInt32, _ reason: String) {
        state.withLock { $0.indexDamage[Key(job: job, generation: .init(rawValue: generation))] = reason }
    }

    /// A damage that is found when the data are read.
    func damageData(_ job: JobID, _ generation: UInt32, _ reason: String) {
        state.withLock { $0.dataDamage[Key(job: job, generation: .init(rawValue: generation))] = reason }
    }

    func failStoring(_ reasons: String...) { state.withLock { $0.storeFailures += reasons } }
    func failExtracting(_ problems: RestoreProblem...) { state.withLock { $0.extractFailures += problems } }
    /// Fails the next removals with these, and none after them.
    func failRemoving(_ errors: [any Error]) { state.withLock { $0.removeFailures = errors } }

    /// Holds every store until the gate is opened.
    func holdStoring() -> Gate {
        let gate = Gate()
        state.withLock { $0.gate = gate }
        return gate
    }

    /// Holds every removal until the gate is opened.
    func holdRemoving() -> Gate {
        let gate = Gate()
        state.withLock { $0.removalGate = gate }
        return gate
    }

    /// Takes in no more than this of a checkpoint that is still being written.
    func boundEarly(_ byteCount: UInt64) { state.withLock { $0.earlyLimit = byteCount } }

    /// Leaves memory out of what it extracts.
    func beLazy() { state.withLock { $0.isLazy = true } }

    /// Refuses copies with this reason, until it is nil.
    func refuseIncoming(_ reason: String?) { state.withLock { $0.incomingRefusal = reason } }
    /// Ends a copy that is being sent after its first piece, once for each reason.
    func failReading(_ reasons: String...) { state.withLock { $0.readFailures += reasons } }
    /// From where on data were read to be sent.
    var readOffsets: [UInt64] { state.withLock { $0.readOffsets } }
    /// Bytes of copies that are being taken in.
    var comingBytes: UInt64 { state.withLock { $0.coming.values.reduce(0, +) } }
    /// Puts something else in the place of a generation.
    func exchange(_ job: JobID, _ generation: UInt32) {
        state.withLock { _ = $0.foreign.insert(Key(job: job, generation: .init(rawValue: generation))) }
    }

    /// Lets a generation's bytes be other ones when they are read to be sent, and when it is examined.
    func rot(_ job: JobID, _ generation: CheckpointGeneration) {
        let key = Key(job: job, generation: generation)
        state.withLock { state in
            state.rotten.insert(key)
            state.dataDamage[key] = "region 3 of pages-1.img is not what was written"
        }
    }
    /// Lets all checkpoints here take no more than this.
    func bound(_ bytes: ByteCount) { state.withLock { $0.bound = bytes } }
    /// Announces an index of so many bytes for every copy that is sent.
    func announceIndex(of length: Int) { state.withLock { $0.indexLength = length } }

    // MARK: CheckpointStore

    func store(
        _ request: CheckpointRequest,
        folders: CheckpointFolders,
        hasLayer: Bool,
        moment: CheckpointMoment,
        onGrowing: @escaping @Sendable () -> Void
    ) async throws -> CheckpointRecord {
        let key = Key(job: request.job, generation: request.generation)
        let seal = await seal(request.job, request.generation)
        let growing = seal == nil ? nil : Growing()
        state.withLock { $0.growing[key] = growing }
        if growing != nil { onGrowing() }
        defer {
            growing?.end()
            state.withLock { $0.growing[key] = nil }
        }
        if let gate = state.withLock({ $0.gate }) { try await gate.pass() }
        let failure = state.withLock { $0.storeFailures.isEmpty ? nil : $0.storeFailures.removeFirst() }
        if let failure { throw SimulatedContainerHost.PlantedFailure(description: failure) }
        let record = CheckpointRecord(
            job: request.job,
            incarnation: request.incarnation,
            generation: request.generation,
            taken: moment.taken,
            frozen: moment.frozen,
            total: moment.elapsed,
            rawBytes: .mebibytes(64),
            storedBytes: .mebibytes(20),
            ledger: moment.ledger,
            seal: seal
        )
        put(record, hasLayer: hasLayer)
        return record
    }

    func catalog() async throws -> [CheckpointRecord] {
        state.withLock { $0.records.values.sorted { ($0.job, $0.generation) < ($1.job, $1.generation) } }
    }

    func check(job: JobID, generation: CheckpointGeneration) async throws {
        let key = Key(job: job, generation: generation)
        let (record, damage) = state.withLock { ($0.records[key], $0.indexDamage[key]) }
        if let damage { throw RestoreProblem.damaged(reason: damage) }
        if record == nil { throw RestoreProblem.damaged(reason: "its files are gone") }
    }

    func extract(
        job: JobID,
        generation: CheckpointGeneration,
        into folders: CheckpointFolders,
        lazily: Bool
    ) async throws -> ExtractedImages {
        let key = Key(job: job, generation: generation)
        let (damage, problem) = state.withLock { state in
            (state.dataDamage[key], state.extractFailures.isEmpty ? nil : state.extractFailures.removeFirst())
        }
        if let problem { throw problem }
        if let damage { throw RestoreProblem.damaged(reason: damage) }
        return state.withLock { state in
            ExtractedImages(
                hasLayer: state.layers.contains(key),
                pages: state.isLazy && lazily ? SimulatedPages() : nil
            )
        }
    }

    func markDamaged(job: JobID, generation: CheckpointGeneration, reason: String) async throws {
        state.withLock { $0.records[Key(job: job, generation: generation)]?.damage = reason }
    }

    func remove(job: JobID, generation: CheckpointGeneration) async throws {
        if let gate = state.withLock({ $0.removalGate }) { try await gate.pass() }
        let failure = state.withLock { $0.removeFailures.isEmpty ? nil : $0.removeFailures.removeFirst() }
        if let failure { throw failure }
        let key = Key(job: job, generation: generation)
        // What comes to this place later lies on other blocks of the disk.
        state.withLock { state in
            (state.records[key], state.indexDamage[key], state.dataDamage[key]) = (nil, nil, nil)
            state.rotten.remove(key)
        }
    }

    // MARK: Copies

    /// Something of 64 digits that depends on the generation.
    static func digest(_ job: JobID, _ generation: CheckpointGeneration) -> String {
        let digits = "\(job)\(generation)".utf8.reduce(into: "") { $0 += String($1, radix: 16) }
        return String((digits + String(repeating: "0", count: 64)).prefix(64))
    }

    func contains(job: JobID, generation: CheckpointGeneration) async -> Bool {
        state.withLock { $0.records[Key(job: job, generation: generation)] != nil }
    }

    func verify(job: JobID, generation: CheckpointGeneration, bytesPerSecond: Int64) async throws {
        let key = Key(job: job, generation: generation)
        let (record, damage) = state.withLock { ($0.records[key], $0.dataDamage[key] ?? $0.indexDamage[key]) }
        if let damage { throw CopyProblem.damaged(reason: damage) }
        if record == nil { throw CopyProblem.notFound(reason: "its files are gone") }
    }

    func examine(
        job: JobID,
        generation: CheckpointGeneration,
        bytesPerSecond: Int64,
        progress: @escaping @Sendable (ReadingProgress) -> Void
    ) async throws -> ImageExamination {
        progress(ReadingProgress(checked: 600_000, total: 600_000))
        do {
            try await verify(job: job, generation: generation, bytesPerSecond: bytesPerSecond)
        } catch CopyProblem
            .damaged(let reason)
        {
            let region = DamagedRegion(file: "pages-1.img", region: 3, offset: 786_432, length: 262_144)
            return ImageExamination(damaged: [region], damagedCount: 1, problem: reason)
        }
        return ImageExamination()
    }

    /// The two documents behind their lengths, and nothing of images.
    private final class Archive: OutgoingArchive, IncomingArchive {
        let store: InMemoryCheckpointStore
        private let bytes: Mutex<[UInt8]>

        init(_ store: InMemoryCheckpointStore, _ bytes: [UInt8] = []) {
            self.store = store
            self.bytes = Mutex(bytes)
        }

        var byteCount: UInt64 { UInt64(bytes.withLock { $0.count }) }
        func next() async throws -> [UInt8] {
            bytes.withLock { bytes in
                defer { bytes = Array(bytes.dropFirst(1000)) }
                return Array(bytes.prefix(1000))
            }
        }
        func write(_ more: [UInt8]) async throws { bytes.withLock { $0 += more } }
        func finish() async throws -> ArchivedImage.Content {
            let parts = bytes.withLock { $0.split(separator: 0) }
            guard parts.count == 4, parts[3].elementsEqual("end".utf8) else {
                throw ImageStoreError(.damaged, "it was cut off")
            }
            let owner = String(decoding: parts[0], as: UTF8.self).split(separator: "/")
            let record = CheckpointRecord(
                job: JobID(rawValue: String(owner[0])),
                incarnation: Incarnation(rawValue: 1),
                generation: CheckpointGeneration(rawValue: UInt32(owner[1]) ?? 0),
                taken: .epoch,
                frozen: .zero,
                total: .zero,
                rawBytes: .mebibytes(64),
                storedBytes: .mebibytes(20),
                ledger: .seconds(5)
            )
            return .init(description: Array(parts[1]), document: Array(parts[2]), record: record)
        }
        func adopt(
            as job: JobID,
            _ generation: CheckpointGeneration,
            incarnation: Incarnation
        ) async throws -> CheckpointRecord {
            var record = try await finish().record
            (record.job, record.generation, record.incarnation) = (job, generation, incarnation)
            record.seal = await store.seal(job, generation)
            store.put(record)
            return record
        }
    }

    func export(
        job: JobID,
        generation: CheckpointGeneration,
        description: [UInt8],
        document: [UInt8]
    ) async throws -> any OutgoingArchive {
        let owner = Array("\(job)/\(generation)".utf8)
        return Archive(self, Array([owner, description, document, Array("end".utf8)].joined(separator: [0])))
    }

    func receiveArchive() async throws -> any IncomingArchive { Archive(self) }

    func space() async -> (used: ByteCount, bound: ByteCount)? {
        state.withLock { state in
            (.bytes(state.records.values.reduce(0) { $0 + $1.storedBytes.rawValue }), state.bound)
        }
    }

    func isNearlyFull() async -> Bool { state.withLock { $0.isFull } }

    private struct Outgoing: OutgoingCopy {
        let seal: ImageSeal
        let index: [UInt8]
        let dataLength: UInt64 = 600_000
        let store: InMemoryCheckpointStore
        let key: Key
        func read(from offset: UInt64, limit: Int) async throws -> [UInt8] {
            let failure = store.state.withLock { state in
                state.readOffsets.append(offset)
                return offset == 0 || state.readFailures.isEmpty ? nil : state.readFailures.removeFirst()
            }
            if let failure { throw CopyProblem.unavailable(reason: failure) }
            let count = min(limit, Int(dataLength - min(dataLength, offset)))
            let isRotten = store.state.withLock { $0.rotten.contains(key) }
            return (0..<count).map { UInt8(truncatingIfNeeded: (Int(offset) + $0) &* (isRotten ? 29 : 31)) }
        }
    }

    /// A checkpoint of which so much is written until it is whole.
    private final class Growing: CopyData {
        static let byteCount: UInt64 = 400_000
        private let whole = AsyncStream<Void>.makeStream()

        func end() { whole.continuation.finish() }

        func read(from offset: UInt64, limit: Int) async throws -> [UInt8] {
            guard offset < Self.byteCount else {
                for await _ in whole.stream {}
                return []
            }
            let count = min(limit, Int(Self.byteCount - offset))
            return (0..<count).map { UInt8(truncatingIfNeeded: (Int(offset) + $0) &* 31) }
        }
    }

    func growing(job: JobID, generation: CheckpointGeneration) -> (any CopyData)? {
        state.withLock { $0.growing[Key(job: job, generation: generation)] }
    }

    func outgoing(
        job: JobID,
        generation: CheckpointGeneration,
        held: [CheckpointGeneration]
    ) async throws -> any OutgoingCopy {
        let key = Key(job: job, generation: generation)
        let (record, isForeign) = state.withLock { ($0.records[key], $0.foreign.contains(key)) }
        guard let seal = record?.seal else { throw CopyProblem.notFound(reason: "it is not here") }
        return Outgoing(
            seal: isForeign ? ImageSeal(key: 1, digest: String(repeating: "f", count: 64)) : seal,
            index: state.withLock { $0.indexLength }.map { Array(repeating: 0, count: $0) } ?? Array(seal.digest.utf8),
            store: self,
            key: key
        )
    }

    private final class Incoming: IncomingCopy {
        let store: InMemoryCheckpointStore
        let key: Key
        let held: [CheckpointGeneration] = []
        let spared: UInt64 = 0
        private let count = Mutex(UInt64(0))
        private let begun = Mutex<(seal: ImageSeal?, kept: UInt64)>((nil, 0))
        var kept: UInt64 { begun.withLock(\.kept) }

        init(_ store: InMemoryCheckpointStore, _ key: Key) {
            (self.store, self.key) = (store, key)
            store.state.withLock { _ = $0.coming.updateValue(0, forKey: key) }
        }

        deinit { store.state.withLock { _ = $0.coming.removeValue(forKey: key) } }

        func begin(index: [UInt8], seal: ImageSeal) async throws -> UInt64 {
            guard index == Array(seal.digest.utf8) else { throw CopyProblem.damaged(reason: "another index") }
            let early = count.withLock { $0 }
            begun.withLock { $0 = (seal, early) }
            return 600_000
        }

        func write(_ bytes: [UInt8], at offset: UInt64) async throws {
            let limit = begun.withLock { $0.seal == nil } ? store.state.withLock(\.earlyLimit) : nil
            guard offset + UInt64(bytes.count) <= limit ?? .max else {
                throw CopyProblem.unavailable(reason: "more than is left for copies")
            }
            for (place, byte) in bytes.enumerated() where byte != UInt8(truncatingIfNeeded: (Int(offset) + place) &* 31)
            {
                throw CopyProblem.damaged(reason: "byte \(Int(offset) + place) is another one")
            }
            count.withLock { $0 += UInt64(bytes.count) }
            store.state.withLock { $0.coming[key]? += UInt64(bytes.count) }
        }

        func finish() async throws -> CheckpointRecord {
            guard count.withLock({ $0 }) >= 600_000 else { throw CopyProblem.damaged(reason: "bytes are missing") }
            let record = CheckpointRecord(
                job: key.job,
                incarnation: Incarnation(rawValue: 1),
                generation: key.generation,
                taken: .epoch,
                frozen: .zero,
                total: .zero,
                rawBytes: .mebibytes(64),
                storedBytes: .mebibytes(20),
                ledger: .zero,
                seal: begun.withLock(\.seal)
            )
            store.put(record)
            return record
        }
    }

    func incoming(
        job: JobID,
        generation: CheckpointGeneration,
        sharing: Bool
    ) async throws -> any IncomingCopy {
        let key = Key(job: job, generation: generation)
        if let refusal = state.withLock({ $0.incomingRefusal }) { throw CopyProblem.unavailable(reason: refusal) }
        if await contains(job: job, generation: generation) { throw CopyProblem.isHere }
        guard state.withLock({ $0.coming[key] == nil }) else {
            throw CopyProblem.unavailable(reason: "it is being read or written")
        }
        return Incoming(self, key)
    }
}

/// Memory that nobody reads.
private struct SimulatedPages: PageSource {
    var byteCount: ByteCount { .gibibytes(1) }
    func read(process: UInt64, address: UInt64, pageCount: UInt64, into output: inout [UInt8]) throws -> Int { 0 }
    func prefetch(process: UInt64, address: UInt64) {}
    func close() {}
}
