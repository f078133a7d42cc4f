internal import ClusterModel
internal import LinuxSystem
package import ResourceSamples

/// NVIDIA GPUs through `nvidia-smi`, for machines where the library cannot be opened from the agent.
package struct NVIDIATool: Sendable {
    private let program: String

    /// Names the program; a name without a slash is looked for in `PATH`.
    package init(program: String = "nvidia-smi") { self.program = program }

    /// Whether the program is there.
    package var isInstalled: Bool { ProcessRunner.find(program) != nil }

    /// Asks the program; 5 s at most for each of its two calls.
    package func devices() throws -> [DeviceSample] {
        let columns = "index,uuid,name,utilization.gpu,memory.total,memory.used,temperature.gpu,power.draw"
        var samples = try Self.parse(devices: ask("--query-gpu=\(columns)"))
        // Older drivers refuse the question on some boards: processes are then not known, the devices still are.
        guard let list = try? ask("--query-compute-apps=gpu_uuid,pid,used_memory") else { return samples }
        let processes = Self.parse(processes: list)
        for index in samples.indices { samples[index].processes = processes[samples[index].uuid] ?? [] }
        return samples
    }

    private func ask(_ question: String) throws -> String {
        let command = ProgramCommand(program, [question, "--format=csv,noheader,nounits"])
        let result = try ProcessRunner.runBlocking(command, timeout: .seconds(5))
        guard result.isSuccess else {
            throw GPUError.tool(
                reason: result.hasTimedOut ? "no answer within 5 s" : "\(result.exit), \(result.complaint)"
            )
        }
        return result.outputText
    }

    /// Reads the answer to `--query-gpu`.
    package static func parse(devices text: String) throws(GPUError) -> [DeviceSample] {
        var samples: [DeviceSample] = []
        for line in text.split(separator: "\n") {
            let fields = columns(of: line)
            guard fields.count == 8, let index = Int(fields[0]) else {
                throw .tool(reason: "a line \"\(line.prefix(120))\" instead of eight columns")
            }
            samples.append(
                DeviceSample(
                    vendor: .nvidia,
                    index: index,
                    uuid: fields[1],
                    name: fields[2],
                    utilization: Double(fields[3]).map { min(1, max(0, $0 / 100)) },
                    memoryTotal: mebibytes(fields[4]) ?? .zero,
                    memoryUsed: mebibytes(fields[5]) ?? .zero,
                    temperatureCelsius: Double(fields[6]),
                    powerWatts: Double(fields[7])
                )
            )
        }
        return samples
    }

    /// Reads the answer to `--query-compute-apps`, by device.
    package static func parse(processes text: String) -> [String: [DeviceSample.Process]] {
        var processes: [String: [DeviceSample.Process]] = [:]
        for line in text.split(separator: "\n") {
            let fields = columns(of: line)
            guard fields.count == 3, let pid = Int32(fields[1]) else { continue }
            processes[fields[0], default: []].append(DeviceSample.Process(id: pid, memory: mebibytes(fields[2])))
        }
        return processes.mapValues { $0.sorted { $0.id < $1.id } }
    }

    /// What is not known is spelled `[N/A]` or `[Not Supported]`, which no number is.
    private static func mebibytes(_ text: String) -> ByteCount? {
        Int64(text).flatMap { $0 >= 0 && $0 < 1 << 40 ? .mebibytes($0) : nil }
    }

    private static func columns(of line: Substring) -> [String] {
        line.split(separator: ",", omittingEmptySubsequences: false).map { field in
            String(field.drop { $0 == " " }.reversed().drop { $0 == " " || $0 == "\r" }.reversed())
        }
    }
}
