package import ClusterModel

/// One GPU and what it is doing.
package struct DeviceSample: Sendable, Equatable, Codable {
    /// Who makes and drives it.
    package enum Vendor: String, Sendable, Codable { case nvidia, amd }

    /// One process that holds memory on the device.
    package struct Process: Sendable, Equatable, Codable {
        /// As the machine itself numbers it, not a container.
        package var id: Int32
        /// nil when the driver does not tell.
        package var memory: ByteCount?

        /// Puts it together.
        package init(id: Int32, memory: ByteCount?) { (self.id, self.memory) = (id, memory) }
    }

    package var vendor: Vendor
    /// The driver's number, from 0.
    package var index: Int
    /// Stays the same over reboots: `GPU-...` for NVIDIA, the `unique_id` or the PCI address for AMD.
    package var uuid: String
    /// The product as the driver calls it, for people; not unique.
    package var name: String
    /// The number in `/dev/nvidiaN` or `/dev/dri/cardN`.
    package var minor: Int?
    /// Part of the last moment in which it computed, 0...1; nil when the driver does not tell (as on MIG).
    package var utilization: Double?
    package var memoryTotal: ByteCount
    package var memoryUsed: ByteCount
    /// Of the chip; nil when the driver does not tell.
    package var temperatureCelsius: Double?
    /// What the board draws, as the driver averages it; nil when it does not tell.
    package var powerWatts: Double?
    package var processes: [Process]
    /// A sentence with the remedy when the device cannot be used, such as one that fell off the bus; jobs must not get it.
    package var problem: String?

    /// Puts a sample together.
    package init(
        vendor: Vendor,
        index: Int,
        uuid: String,
        name: String,
        minor: Int? = nil,
        utilization: Double? = nil,
        memoryTotal: ByteCount = .zero,
        memoryUsed: ByteCount = .zero,
        temperatureCelsius: Double? = nil,
        powerWatts: Double? = nil,
        processes: [Process] = [],
        problem: String? = nil
    ) {
        self.vendor = vendor
        self.index = index
        self.uuid = uuid
        self.name = name
        self.minor = minor
        self.utilization = utilization
        self.memoryTotal = memoryTotal
        self.memoryUsed = memoryUsed
        self.temperatureCelsius = temperatureCelsius
        self.powerWatts = powerWatts
        self.processes = processes
        self.problem = problem
    }
}
