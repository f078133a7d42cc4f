package import ClusterModel

/// The first bytes of a data file: whose it is, so that a file that was swapped with another is refused by name.
///
/// 128 bytes, little-endian: magic (8), version (2), length of the job's identity (2), incarnation (4), generation (4), zero (4), taken (8), job's
/// identity padded with zeros (88), XXH64 of the 120 bytes before (8).
package struct DataFileHeader: Sendable, Equatable {
    /// Bytes of an encoded header.
    package static let length = 128
    /// Bytes that a job's identity may have.
    package static let jobByteLimit = 88
    /// Of this layout; it has not changed since the first.
    private static let version: UInt16 = 1
    private static let magic = Array("GODWITDT".utf8)

    package var job: JobID
    package var incarnation: Incarnation
    package var generation: CheckpointGeneration
    package var taken: Timestamp

    package init(job: JobID, incarnation: Incarnation, generation: CheckpointGeneration, taken: Timestamp) {
        self.job = job
        self.incarnation = incarnation
        self.generation = generation
        self.taken = taken
    }

    /// The header that the data file of this index must begin with.
    package init(of index: ImageIndex) {
        self.init(job: index.job, incarnation: index.incarnation, generation: index.generation, taken: index.taken)
    }

    /// The header that the data file of an earlier generation must begin with.
    package init(of source: DataSource, job: JobID) {
        self.init(job: job, incarnation: source.incarnation, generation: source.generation, taken: source.taken)
    }

    /// The header as bytes.
    ///
    /// The job's identity must have 1 to `jobByteLimit` bytes.
    package func encoded() -> [UInt8] {
        let identity = Array(job.rawValue.utf8)
        precondition((1...Self.jobByteLimit).contains(identity.count), "a job's identity of \(identity.count) bytes")
        var writer = ByteWriter()
        writer.append(Self.magic)
        writer.append(Self.version)
        writer.append(UInt16(identity.count))
        writer.append(incarnation.rawValue)
        writer.append(generation.rawValue)
        writer.append(UInt32(0))
        writer.append(UInt64(bitPattern: taken.rawValue))
        writer.append(identity)
        writer.append([UInt8](repeating: 0, count: Self.jobByteLimit - identity.count))
        writer.append(XXHash64.hash(writer.bytes.span))
        return writer.bytes
    }

    /// Reads a header; refuses anything that `encoded` did not make.
    package static func decode(_ bytes: Span<UInt8>) throws(ImageIndexError) -> DataFileHeader {
        var reader = ByteReader(bytes, what: "data file header")
        guard try reader.bytes(8) == magic else { throw .notOurs(what: "data file") }
        let version: UInt16 = try reader.integer()
        let identityLength: UInt16 = try reader.integer()
        let incarnation: UInt32 = try reader.integer()
        let generation: UInt32 = try reader.integer()
        let zero: UInt32 = try reader.integer()
        let taken: UInt64 = try reader.integer()
        let identity = try reader.bytes(jobByteLimit)
        let sum = XXHash64.hash(bytes.extracting(first: reader.position))
        guard try reader.integer() == sum else { throw .checksumMismatch(what: "data file header") }
        guard version <= Self.version else { throw .futureVersion(found: version) }
        guard version >= 1, zero == 0, (1...jobByteLimit).contains(Int(identityLength)),
            identity.dropFirst(Int(identityLength)).allSatisfy({ $0 == 0 }),
            let job = String(validating: identity.prefix(Int(identityLength)), as: UTF8.self)
        else { throw .invalid(place: "data file header", problem: "a field has an impossible value") }
        return DataFileHeader(
            job: JobID(rawValue: job),
            incarnation: Incarnation(rawValue: incarnation),
            generation: CheckpointGeneration(rawValue: generation),
            taken: Timestamp(rawValue: Int64(bitPattern: taken))
        )
    }
}
