import ClusterModel
import GPU
import LinuxSystem
import ResourceSamples
import Testing

@Suite struct NVMLTests {
    let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    @Test func `a present driver tells everything`() throws {
        let library = try NVML(path: folder.stub())
        #expect(library.driverVersion == "580.95.05")
        let devices = try library.devices()
        #expect(devices.count == 2)
        let first = devices[0]
        #expect(first.vendor == .nvidia && first.index == 0 && first.minor == 4)
        #expect(first.uuid == "GPU-00000000-aaaa-bbbb-cccc-000000000000")
        #expect(first.name == "NVIDIA H100 80GB HBM3")
        #expect(first.utilization == 0.37)
        // Without what the driver keeps for itself.
        #expect(first.memoryTotal == .gibibytes(80) && first.memoryUsed == .gibibytes(10))
        #expect(first.temperatureCelsius == 41 && first.powerWatts == 123.456)
        #expect(first.problem == nil)
        #expect(devices[1].utilization == 1)
    }

    @Test func `the list of processes is asked for again when it is longer than expected`() throws {
        let processes = try NVML(path: folder.stub()).devices()[0].processes
        #expect(processes.count == 100)
        #expect(processes.map(\.id) == Array(4901...5000))
        #expect(processes.last?.memory == nil)
        #expect(processes.first?.memory == .mebibytes(99))
    }

    @Test func `an older driver lacks the newer calls`() throws {
        let device = try NVML(path: folder.stub("OLD")).devices()[0]
        #expect(device.memoryUsed == .gibibytes(11))
        #expect(device.temperatureCelsius == 40)
        #expect(device.processes.count == 100)
    }

    @Test func `a device in MIG mode has no utilization`() throws {
        let device = try NVML(path: folder.stub("MIG")).devices()[0]
        #expect(device.utilization == nil && device.problem == nil)
        #expect(device.memoryTotal == .gibibytes(80))
    }

    @Test func `a device that fell off the bus is listed with its problem, the others are not disturbed`() throws {
        let devices = try NVML(path: folder.stub("LOST=0")).devices()
        #expect(devices.count == 2)
        #expect(devices[0].problem?.contains("GPU is lost") ?? false)
        #expect(devices[0].problem?.contains("reboot") ?? false)
        #expect(devices[1].problem == nil && devices[1].memoryTotal == .gibibytes(80))
    }

    @Test func `a driver that is not loaded says so`() throws {
        let path = try folder.stub("INIT_RESULT=9")
        let error = #expect(throws: GPUError.self) { try NVML(path: path) }
        #expect(error == .call(name: "nvmlInit_v2", code: 9, reason: "Driver Not Loaded"))
    }

    @Test func `missing symbols are no crash`() throws {
        let bare = try NVML(path: folder.stub("BARE", "WITHOUT_ERROR_STRING"))
        #expect(bare.driverVersion == nil)
        #expect(throws: GPUError.self) { try bare.devices() }
        let other = #expect(throws: GPUError.self) { try NVML(path: "libc.so.6") }
        #expect(other?.description.contains("nvmlInit_v2") ?? false)
        let absent = #expect(throws: GPUError.self) { try NVML(path: "/absent/libnvidia-ml.so.1") }
        #expect(absent?.description.contains("/absent/libnvidia-ml.so.1") ?? false)
    }

    @Test func `an absurd count does not keep the agent busy`() throws {
        #expect(try NVML(path: folder.stub("DEVICES=4000000000u", "LOST=0")).devices().count == 256)
    }
}
