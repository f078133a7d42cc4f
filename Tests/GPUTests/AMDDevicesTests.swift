import ClusterModel
import GPU
import ResourceSamples
import Testing

@Suite struct AMDDevicesTests {
    let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    /// What amdgpu shows of one device.
    private func makeCard(_ number: Int, render: Int) throws {
        let device = "class/drm/card\(number)/device"
        try folder.write("\(device)/vendor", "0x1002\n")
        try folder.write("\(device)/device", "0x740f\n")
        try folder.write("\(device)/mem_info_vram_total", "68702699520\n")
        try folder.write("\(device)/mem_info_vram_used", "1073741824\n")
        try folder.write("\(device)/gpu_busy_percent", "63\n")
        try folder.write("\(device)/unique_id", "a1b2c3d4e5f60\(number)\n")
        try folder.write("\(device)/product_name", "AMD Instinct MI210\n")
        try folder.write("\(device)/uevent", "DRIVER=amdgpu\nPCI_SLOT_NAME=0000:c\(number):00.0\n")
        try folder.write("\(device)/hwmon/hwmon5/temp1_input", "48000\n")
        try folder.write("\(device)/hwmon/hwmon5/power1_average", "91000000\n")
        try folder.write("\(device)/drm/renderD\(render)/dev", "226:\(render)\n")
    }

    @Test func `devices of sysfs, by card number`() throws {
        try makeCard(10, render: 138)
        try makeCard(2, render: 130)
        try folder.write("class/drm/card2-DP-1/status", "connected\n")
        // Another maker's device, and one without memory of its own.
        try folder.write("class/drm/card0/device/vendor", "0x8086\n")
        try folder.write("class/drm/card1/device/vendor", "0x1002\n")
        let devices = AMDDevices(root: folder.path).devices()
        #expect(devices.map(\.minor) == [2, 10])
        #expect(devices.map(\.index) == [0, 1])
        let first = try #require(devices.first)
        #expect(first.vendor == .amd && first.uuid == "a1b2c3d4e5f602" && first.name == "AMD Instinct MI210")
        #expect(first.utilization == 0.63)
        #expect(first.memoryTotal == .bytes(68_702_699_520) && first.memoryUsed == .gibibytes(1))
        #expect(first.temperatureCelsius == 48 && first.powerWatts == 91)
    }

    @Test func `compute processes are found through the topology`() throws {
        try makeCard(2, render: 130)
        try folder.write("class/kfd/kfd/topology/nodes/0/gpu_id", "0\n")
        try folder.write("class/kfd/kfd/topology/nodes/0/properties", "cpu_cores_count 64\ndrm_render_minor 0\n")
        try folder.write("class/kfd/kfd/topology/nodes/1/gpu_id", "51234\n")
        try folder.write("class/kfd/kfd/topology/nodes/1/properties", "simd_count 416\ndrm_render_minor 130\n")
        try folder.write("class/kfd/kfd/proc/812/vram_51234", "2097152\n")
        try folder.write("class/kfd/kfd/proc/77/vram_51234", "1048576\n")
        try folder.write("class/kfd/kfd/proc/99/vram_1", "1048576\n")
        let processes = AMDDevices(root: folder.path).devices().first?.processes
        #expect(processes == [.init(id: 77, memory: .mebibytes(1)), .init(id: 812, memory: .mebibytes(2))])
    }

    @Test func `files that are missing or odd are values that are not known`() throws {
        try folder.write("class/drm/card0/device/vendor", "0x1002\n")
        try folder.write("class/drm/card0/device/mem_info_vram_total", "1048576\n")
        try folder.write("class/drm/card0/device/gpu_busy_percent", "busy\n")
        try folder.write("class/drm/card0/device/hwmon/hwmon0/power1_input", "5000000\n")
        let device = try #require(AMDDevices(root: folder.path).devices().first)
        #expect(device.utilization == nil && device.temperatureCelsius == nil && device.powerWatts == 5)
        #expect(device.uuid == "card0" && device.processes.isEmpty)
        #expect(AMDDevices(root: "/absent").devices().isEmpty)
    }
}
