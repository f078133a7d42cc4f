import Checkpointing
import ClusterModel
import ControlMessages
import FoundationEssentials
import ImageStore
import SwiftProtobuf
import Transport

/// What the destination of a move wants from its source.
struct MigrationRequest: Sendable, Equatable {
    var job: JobID
    /// Of the job's moves.
    var number: UInt64
    /// Regions that have come already.
    var skip = 0
    /// Whether only the image is asked for, which is known before the dump.
    var isInquiry = false
    /// With an inquiry: whether the caller can run the job before its memory is there.
    var takesLazily = false
}

/// A part of what the source of a move gives.
struct MigrationPart: Sendable, Equatable {
    var facts = MigrationFacts()
    /// With the first part.
    var files: [DumpFile] = []
    var pieces: [DumpPiece] = []
    /// What `skip` would be to go on after this part.
    var next = 0
}

extension MigrationRequest {
    /// The request as it travels.
    func wire(lineage: UInt64) -> WireMigrationFetchRequest {
        .with { request in
            request.job = job.rawValue
            request.number = number
            request.skip = UInt32(clamping: skip)
            request.inquiry = isInquiry
            request.lazy = takesLazily
            request.lineage = lineage
        }
    }

    /// Reads a request; whether it makes sense is seen when what it names is not there.
    init(_ wire: WireMigrationFetchRequest) {
        self.init(
            job: JobID(rawValue: wire.job),
            number: wire.number,
            skip: Int(wire.skip),
            isInquiry: wire.inquiry,
            takesLazily: wire.lazy
        )
    }
}

extension MigrationPart {
    /// The part as it travels.
    var wire: WireMigrationFetchReply {
        .with { reply in
            reply.image = facts.image
            reply.memory = UInt64(max(0, facts.memory.rawValue))
            reply.lazy = facts.isLazy
            reply.files = files.map { file in
                .with { wire in
                    wire.name = file.name
                    wire.kind =
                        switch file.kind {
                        case .image: .image
                        case .folder: .folder
                        case .layer: .layer
                        }
                    wire.mode = UInt32(file.mode)
                    wire.size = file.size
                }
            }
            reply.regions = pieces.map(\.wire)
            reply.next = UInt32(clamping: next)
        }
    }

    /// Reads a part; throws `RPCFailure` when it cannot be one.
    init(_ wire: WireMigrationFetchReply) throws {
        let memory = ByteCount(rawValue: Int64(clamping: wire.memory))
        facts = MigrationFacts(image: wire.image, memory: memory, isLazy: wire.lazy)
        files = try wire.files.map { file in
            guard file.mode <= 0o7777 else { throw Self.unreadable }
            let kind: ImageFile.Kind =
                switch file.kind {
                case .image: .image
                case .folder: .folder
                case .layer: .layer
                case .UNRECOGNIZED: throw Self.unreadable
                }
            return DumpFile(name: file.name, kind: kind, mode: UInt16(file.mode), size: file.size)
        }
        pieces = try wire.regions.map { try DumpPiece($0) }
        next = Int(wire.next)
    }

    fileprivate static var unreadable: RPCFailure {
        RPCFailure(.internal, "what the other agent sent of a job cannot be read: upgrade the older agent")
    }
}

extension DumpPiece {
    /// The piece as it travels.
    fileprivate var wire: WireMigrationRegion {
        .with { wire in
            wire.file = UInt32(clamping: file)
            wire.offset = region.rawOffset
            wire.length = UInt32(clamping: region.rawLength)
            wire.encoding = UInt32(region.encoding.rawValue)
            wire.pages = region.pages
            wire.checksum = region.checksum
            wire.stored = Data(stored)
        }
    }

    /// Reads a piece; throws `RPCFailure` when it cannot be one.
    fileprivate init(_ wire: WireMigrationRegion) throws {
        guard let encoding = ImageRegion.Encoding(rawValue: UInt8(clamping: wire.encoding)), encoding != .zero else {
            throw MigrationPart.unreadable
        }
        self.init(
            file: Int(wire.file),
            region: ImageRegion(
                rawOffset: wire.offset,
                rawLength: UInt64(wire.length),
                storedLength: UInt32(clamping: wire.stored.count),
                encoding: encoding,
                pages: wire.pages,
                checksum: wire.checksum
            ),
            stored: [UInt8](wire.stored)
        )
    }
}

extension PagesRequest {
    /// The request as it travels.
    func wire(lineage: UInt64) -> WireMigrationPagesRequest {
        .with { request in
            request.job = job.rawValue
            request.number = number
            request.lineage = lineage
            request.process = process
            request.runs = runs.map { run in
                .with { wire in
                    wire.address = run.address
                    wire.pages = UInt32(clamping: run.pageCount)
                }
            }
            request.urgent = isUrgent
        }
    }

    /// Reads a request; throws `RPCFailure` when it asks for more than one answer may have.
    init(_ wire: WireMigrationPagesRequest) throws {
        let runs = wire.runs.map { PageRun(address: $0.address, pageCount: UInt64($0.pages)) }
        guard (1...Int(Self.pageLimit)).contains(runs.count), runs.allSatisfy({ $0.pageCount > 0 }),
            runs.reduce(0, { $0 + $1.pageCount }) <= Self.pageLimit
        else {
            throw RPCFailure(.invalid, "a request for memory names 1 to \(Self.pageLimit) pages")
        }
        self.init(
            job: JobID(rawValue: wire.job),
            number: wire.number,
            process: wire.process,
            runs: runs,
            isUrgent: wire.urgent
        )
    }
}

/// An answer with pages, as it travels.
enum PagesReply {
    static func wire(_ pieces: [DumpPiece]) -> WireMigrationPagesReply { .with { $0.regions = pieces.map(\.wire) } }

    static func pieces(_ wire: WireMigrationPagesReply) throws -> [DumpPiece] {
        try wire.regions.map { try DumpPiece($0) }
    }
}
