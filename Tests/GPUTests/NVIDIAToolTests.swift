import ClusterModel
import GPU
import LinuxSystem
import ResourceSamples
import Testing

@Suite struct NVIDIAToolTests {
    @Test func `the answer of nvidia-smi, with what it does not know`() throws {
        let text = """
            0, GPU-0a, NVIDIA H100 80GB HBM3, 37, 81559, 10240, 41, 123.45
            1, GPU-1b, NVIDIA A100, [N/A], 40960, 0, 30, [Not Supported]
            """
        let devices = try NVIDIATool.parse(devices: text)
        #expect(devices.map(\.uuid) == ["GPU-0a", "GPU-1b"])
        #expect(devices[0].utilization == 0.37 && devices[0].memoryTotal == .mebibytes(81559))
        #expect(devices[0].powerWatts == 123.45 && devices[0].temperatureCelsius == 41)
        #expect(devices[1].utilization == nil && devices[1].powerWatts == nil && devices[1].memoryUsed == .zero)
    }

    @Test func `processes by device`() {
        let processes = NVIDIATool.parse(processes: "GPU-0a, 812, 300\nGPU-0a, 77, [N/A]\nNo running processes found\n")
        #expect(processes == ["GPU-0a": [.init(id: 77, memory: nil), .init(id: 812, memory: .mebibytes(300))]])
    }

    @Test func `an unexpected answer is an error that quotes it`() {
        let error = #expect(throws: GPUError.self) { try NVIDIATool.parse(devices: "NVIDIA-SMI has failed") }
        #expect(error?.description.contains("NVIDIA-SMI has failed") ?? false)
    }

    @Test func `runs the program, and quotes it when it fails`() throws {
        let folder = try TemporaryFolder()
        let script = """
            #!/bin/sh
            case "$1" in
            *compute-apps*) echo "GPU-0a, 812, 300";;
            *) echo "0, GPU-0a, Some GPU, 5, 1000, 10, 41, 12.5";;
            esac
            """
        try folder.write("smi", script, mode: 0o755)
        let devices = try NVIDIATool(program: folder("smi")).devices()
        #expect(devices.count == 1 && devices[0].processes == [.init(id: 812, memory: .mebibytes(300))])
        try folder.write("failing", "#!/bin/sh\necho 'no driver' >&2\nexit 9\n", mode: 0o755)
        let error = #expect(throws: GPUError.self) { try NVIDIATool(program: folder("failing")).devices() }
        #expect(error?.description.contains("exit status 9, no driver") ?? false)
    }
}
