import ClusterModel
import ControlMessages
import GPU
import LinuxSystem
import ResourceSamples
import ServiceLifecycle

/// Reads the node's memory and GPU devices every few seconds.
actor ResourceMonitor: Service {
    /// The last reading.
    struct Reading: Sendable {
        var memoryTotal = ByteCount.zero
        var memoryUsed = ByteCount.zero
        var devices: [DeviceSample] = []
    }

    private(set) var reading = Reading()
    private let inventory: GPUInventory
    private let period: Duration

    /// Reads once, so that there is something to show from the start.
    init(inventory: GPUInventory, period: Duration = .seconds(5)) async {
        self.inventory = inventory
        self.period = period
        await read()
    }

    func run() async throws {
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                try? await Task.sleep(for: self.period)
                await self.read()
            }
        }
    }

    private func read() async {
        if let memory = try? Machine.memory() {
            reading.memoryTotal = memory.total
            reading.memoryUsed = memory.total - memory.available
        }
        if let devices = try? await inventory.devices() { reading.devices = devices }
    }
}

extension DeviceSample {
    /// The device as it travels.
    var wire: WireDevice {
        var device = WireDevice()
        device.index = UInt32(index)
        device.uuid = uuid
        device.name = name
        device.utilization = utilization ?? -1
        device.memoryBytes = UInt64(max(0, memoryTotal.rawValue))
        device.memoryUsedBytes = UInt64(max(0, memoryUsed.rawValue))
        device.temperatureCelsius = temperatureCelsius ?? 0
        device.powerWatts = powerWatts ?? 0
        return device
    }
}

extension CapabilityReport {
    /// The capability as it travels.
    var wire: WireCapability {
        var capability = WireCapability()
        capability.name = name
        capability.isPresent = isPresent
        capability.detail = detail
        capability.cost = isPresent ? "" : cost
        capability.remedy = isPresent ? "" : remedy
        return capability
    }
}
