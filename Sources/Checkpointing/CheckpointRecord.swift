package import ClusterModel

/// One checkpoint of one job as the catalog lists it.
package struct CheckpointRecord: Sendable, Codable, Equatable {
    /// Whether a job can be restored from it.
    package enum State: String, Sendable, Codable, CaseIterable {
        /// Index and data were written in full and nothing has been found wrong since.
        case complete
        /// Something was found wrong; `damage` says what.
        case damaged
    }

    package var job: JobID
    /// The start of the container that the images were taken from.
    package var incarnation: Incarnation
    package var generation: CheckpointGeneration
    /// When the container stood still.
    package var taken: Timestamp
    /// How long the container stood still.
    package var frozen: Duration
    /// From the request until images and index were durable.
    package var total: Duration
    /// What CRIU and the capture of the writable layer wrote, holes included.
    package var rawBytes: ByteCount
    /// What the store keeps: data and index.
    package var storedBytes: ByteCount
    /// Data of earlier generations that it shares and that stays as long as it does.
    package var sharedBytes: ByteCount = .zero
    /// CPU time that the job had consumed at that moment, over all its incarnations; a restore rolls the ledger back to it.
    package var ledger: Duration
    /// What was found wrong, one sentence; nil while nothing was.
    package var damage: String?
    /// How its files are sealed; nil when they are not, and so must stay on their node.
    package var seal: ImageSeal?

    package init(
        job: JobID,
        incarnation: Incarnation,
        generation: CheckpointGeneration,
        taken: Timestamp,
        frozen: Duration,
        total: Duration,
        rawBytes: ByteCount,
        storedBytes: ByteCount,
        ledger: Duration,
        damage: String? = nil,
        seal: ImageSeal? = nil
    ) {
        self.job = job
        self.incarnation = incarnation
        self.generation = generation
        self.taken = taken
        self.frozen = frozen
        self.total = total
        self.rawBytes = rawBytes
        self.storedBytes = storedBytes
        self.ledger = ledger
        self.damage = damage
        self.seal = seal
    }

    /// Whether the job can be restored from it, as far as is known.
    package var state: State { damage == nil ? .complete : .damaged }

    /// Seconds that the container stood still.
    package var frozenSeconds: Double { frozen.inSeconds }

    /// Seconds from the request until images and index were durable.
    package var totalSeconds: Double { total.inSeconds }
}
