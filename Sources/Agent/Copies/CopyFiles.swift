import Checkpointing
import ClusterModel
import ImageStore

/// Data of a checkpoint that another node reads: of one that is being written here, which gives what there is, or of a whole one.
protocol CopyData: Sendable {
    /// Up to `limit` bytes from `offset` on; waits for those that are still to be written, and gives none at the end, or when the checkpoint has
    /// become whole meanwhile.
    func read(from offset: UInt64, limit: Int) async throws -> [UInt8]
}

/// A checkpoint that another node reads as it lies here; it stays until this is let go.
protocol OutgoingCopy: CopyData {
    /// How it is sealed.
    var seal: ImageSeal { get }
    /// The index file.
    var index: [UInt8] { get }
    /// Bytes of the data file.
    var dataLength: UInt64 { get }
}

/// A copy that comes here; what is let go before `finish` returned leaves nothing.
protocol IncomingCopy: Sendable {
    /// Earlier generations whose data is here and need not come.
    var held: [CheckpointGeneration] { get }
    /// Bytes of them that belong to it, known once it has begun.
    var spared: UInt64 { get }
    /// Bytes that came before the index and need not come again, known once it has begun.
    var kept: UInt64 { get }
    /// Takes the index if it is the one that the catalog knows by this seal, and gives the bytes of data that belong to it.
    func begin(index: [UInt8], seal: ImageSeal) async throws -> UInt64
    /// Takes data; before the index that of a checkpoint that is still being written.
    func write(_ bytes: [UInt8], at offset: UInt64) async throws
    /// Opens every region and makes the copy durable.
    func finish() async throws -> CheckpointRecord
}

extension OutgoingImage: OutgoingCopy {}
extension GrowingImage: CopyData {}

/// What is wrong with a copy, as far as it decides what comes next.
enum CopyProblem: Error, Equatable, CustomStringConvertible {
    /// There is no such checkpoint here, or another one.
    case notFound(reason: String)
    /// The bytes are not those that were written.
    case damaged(reason: String)
    /// It is here already.
    case isHere
    /// There is no room, or it cannot be written or read now.
    case unavailable(reason: String)

    var description: String {
        switch self {
        case .notFound(let reason), .damaged(let reason), .unavailable(let reason): reason
        case .isHere: "it is here already"
        }
    }

    init(_ error: ImageStoreError) {
        switch error.code {
        case .notFound: self = .notFound(reason: error.description)
        case .damaged, .futureVersion: self = .damaged(reason: error.description)
        case .alreadyExists: self = .isHere
        case .noSpace, .unsuitable, .busy, .cancelled, .system: self = .unavailable(reason: error.description)
        }
    }
}

/// Says of each error of an incoming copy what is wrong.
struct TranslatedIncomingCopy: IncomingCopy {
    let copy: IncomingImage
    var held: [CheckpointGeneration] { copy.held }
    var spared: UInt64 { copy.spared }
    var kept: UInt64 { copy.kept }

    func begin(index: [UInt8], seal: ImageSeal) async throws -> UInt64 {
        try await translated { try await copy.begin(index: index, seal: seal) }
    }
    func write(_ bytes: [UInt8], at offset: UInt64) async throws {
        try await translated { try await copy.write(bytes, at: offset) }
    }
    func finish() async throws -> CheckpointRecord { try await translated { try await copy.finish() } }
}

/// Runs the body and throws a `CopyProblem` where it throws an error of the image store.
func translated<Result: Sendable>(_ body: () async throws -> Result) async throws -> Result {
    do { return try await body() } catch let error as ImageStoreError { throw CopyProblem(error) }
}

/// Of an agent that fetches nothing: what is here is all there is.
struct NoCopies: CopySource {
    func obtain(_ job: JobID, _ generation: CheckpointGeneration) async throws {}
    func foundDamage(_ job: JobID, _ generation: CheckpointGeneration, reason: String) async -> Bool { false }
    func offer(_ job: JobID, _ generation: CheckpointGeneration) async {}
}
