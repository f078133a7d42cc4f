import Checkpointing
import ClusterModel
import ClusterState
import ImageStore
import Transport

/// A checkpoint that is written as a tar, piece by piece.
protocol OutgoingArchive: Sendable {
    /// Bytes of the tar.
    var byteCount: UInt64 { get }
    /// The next bytes; none at the end.
    func next() async throws -> [UInt8]
}

/// A tar of a checkpoint that comes in; what is let go before `adopt` returned leaves nothing.
protocol IncomingArchive: Sendable {
    func write(_ bytes: [UInt8]) async throws
    /// Looks whether all of it is there and fits together.
    func finish() async throws -> ArchivedImage.Content
    /// Makes it a checkpoint of a job here, every region looked at.
    func adopt(
        as job: JobID,
        _ generation: CheckpointGeneration,
        incarnation: Incarnation
    ) async throws -> CheckpointRecord
}

extension ExportedImage: OutgoingArchive {}
extension ArchivedImage: IncomingArchive {}

/// What the description in a tar says beside what its index does.
struct ArchiveDescription: Codable, Equatable {
    /// Of the layout of the tar: a reader refuses a newer one.
    var format = Self.newestFormat
    var cluster: String
    var job: String
    var name: String
    var generation: UInt32
    /// When the container stood still.
    var takenUnixSeconds: Double
    var cpuSeconds: Double
    var completedIterations: Int
    var imageBytes: Int64
    /// Of the agent that wrote it.
    var godwit: String

    static let newestFormat = 1
}

/// Tars that come in piece by piece, each from one user.
actor ArchiveUploads {
    private struct Key: Hashable {
        var user: UserID
        var name: String
    }
    private struct Upload {
        var archive: any IncomingArchive
        var received: UInt64 = 0
        var touched: ContinuousClock.Instant
        var isBusy = false
    }
    private var uploads: [Key: Upload] = [:]
    /// Uploads that are about to be there.
    private var beginning = 0
    private var sweep: Task<Void, Never>?
    private let patience: Duration
    private let begin: @Sendable () async throws -> any IncomingArchive

    /// Uploads at once.
    static let limit = 4

    /// One of which nothing comes for so long as `patience` is given up, with what came of it.
    init(patience: Duration = .seconds(120), begin: @escaping @Sendable () async throws -> any IncomingArchive) {
        (self.patience, self.begin) = (patience, begin)
    }

    /// Gives up what nobody goes on with, as long as there is anything.
    private func sweepLater() {
        guard sweep == nil else { return }
        sweep = Task(name: "archive.sweep") { [weak self, patience] in
            repeat { try? await Task.sleep(for: patience) } while await self?.sweepNow() == true
        }
    }

    private func sweepNow() -> Bool {
        uploads = uploads.filter { $0.value.isBusy || $0.value.touched + patience > .now }
        if uploads.isEmpty { sweep = nil }
        return !uploads.isEmpty
    }

    /// Takes the next piece, and gives the bytes that have come; with the last one also the tar.
    ///
    /// - Throws: `RPCFailure`; the upload is given up then.
    func take(
        _ bytes: [UInt8],
        at offset: UInt64,
        isLast: Bool,
        of name: String,
        by user: UserID
    ) async throws -> (received: UInt64, archive: (any IncomingArchive)?) {
        guard (8...64).contains(name.utf8.count) else {
            throw RPCFailure(.invalid, "an upload's name has 8 to 64 characters; this one has \(name.utf8.count)")
        }
        let key = Key(user: user, name: name)
        if uploads[key] == nil {
            guard offset == 0 else {
                throw RPCFailure(.notFound, "nothing of this upload is here; begin it again, on one connection")
            }
            guard uploads.count + beginning < Self.limit else {
                throw RPCFailure(.exhausted, "\(Self.limit) checkpoints are being imported already; try again")
            }
            beginning += 1
            defer { beginning -= 1 }
            let archive = try await begin()
            uploads[key] = Upload(archive: archive, touched: .now)
            sweepLater()
        }
        guard let upload = uploads[key], !upload.isBusy, upload.received == offset else {
            uploads[key] = nil
            throw RPCFailure(.invalid, "pieces of the upload came out of order; begin it again")
        }
        uploads[key]?.isBusy = true
        do { try await upload.archive.write(bytes) } catch {
            uploads[key] = nil
            throw error
        }
        let received = offset + UInt64(bytes.count)
        if isLast {
            uploads[key] = nil
            return (received, upload.archive)
        }
        uploads[key] = Upload(archive: upload.archive, received: received, touched: .now)
        return (received, nil)
    }
}
