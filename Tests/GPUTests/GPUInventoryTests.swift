import ClusterModel
import GPU
import LinuxSystem
import ResourceSamples
import Testing

@Suite struct GPUInventoryTests {
    let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    private func inventory(
        library: String,
        tool: String = "/absent/nvidia-smi",
        timeout: Duration = .seconds(20)
    ) -> GPUInventory {
        GPUInventory(library: library, tool: tool, sysfs: folder("sys"), timeout: timeout)
    }

    @Test func `a machine without GPUs has none, and says what that costs`() async throws {
        let inventory = inventory(library: "/absent/libnvidia-ml.so.1")
        #expect(try await inventory.devices().isEmpty)
        let report = await inventory.capability()
        #expect(!report.isPresent && report.name == "gpu" && report.cost.hasSuffix("."))
    }

    @Test func `devices of both makers`() async throws {
        try folder.write("sys/class/drm/card3/device/vendor", "0x1002\n")
        try folder.write("sys/class/drm/card3/device/mem_info_vram_total", "1048576\n")
        let inventory = try inventory(library: folder.stub())
        #expect(try await inventory.devices().map(\.vendor) == [.nvidia, .nvidia, .amd])
        let report = await inventory.capability()
        #expect(report.isPresent && report.detail.contains("driver 580.95.05"))
    }

    @Test func `without the library nvidia-smi is asked`() async throws {
        try folder.write("smi", "#!/bin/sh\necho '0, GPU-0a, Some GPU, 5, 1000, 10, 41, 12.5'\n", mode: 0o755)
        let devices = try await inventory(library: "/absent/lib.so", tool: folder("smi")).devices()
        #expect(devices.map(\.uuid) == ["GPU-0a"])
    }

    @Test func `a library that cannot start is a fault, not a machine without GPUs`() async throws {
        let inventory = try inventory(library: folder.stub("INIT_RESULT=9"))
        await #expect(throws: GPUError.self) { try await inventory.devices() }
        #expect(await inventory.capability().detail.contains("Driver Not Loaded"))
    }

    @Test func `a driver that hangs costs one thread and is told within the limit`() async throws {
        let inventory = try inventory(library: folder.stub("HANGING"), timeout: .milliseconds(100))
        for _ in 0..<3 {
            await #expect(throws: GPUError.hanging(seconds: 1)) { try await inventory.devices() }
        }
    }

    @Test func `many ask at once and all are answered`() async throws {
        let inventory = try inventory(library: folder.stub())
        try await withThrowingTaskGroup(of: Int.self) { group in
            for _ in 0..<50 { group.addTask { try await inventory.devices().count } }
            for try await count in group { #expect(count == 2) }
        }
    }

    @Test func `a node whose only device is lost cannot take GPU jobs, and says why`() async throws {
        let report = try await inventory(library: folder.stub("DEVICES=1", "LOST=0")).capability()
        #expect(!report.isPresent && report.remedy.contains("fell off the bus"))
    }
}
