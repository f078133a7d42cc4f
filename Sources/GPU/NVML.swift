internal import CNVML
internal import ClusterModel
internal import Glibc
package import ResourceSamples

/// Why GPUs could not be read.
package enum GPUError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The driver's library is not there, or is no such library.
    case library(path: String, reason: String)
    /// A call to the library failed.
    case call(name: String, code: Int32, reason: String)
    /// The driver has not answered within the time limit, and does not answer any more.
    case hanging(seconds: Int)
    /// `nvidia-smi` said something unexpected.
    case tool(reason: String)

    package var description: String {
        switch self {
        case .library(let path, let reason): "Cannot use \(path): \(reason)."
        case .call(let name, let code, let reason): "\(name) failed with \(code): \(reason)."
        case .hanging(let seconds):
            "The GPU driver has not answered for \(seconds) s: look for Xid messages in the kernel log (dmesg); "
                + "a reboot may be needed."
        case .tool(let reason): "Cannot read GPUs through nvidia-smi: \(reason)."
        }
    }
}

/// NVIDIA's management library, opened at run time.
///
/// Every call is looked up by name, and one that this driver does not have is a value that is not known, never a crash.
/// The library is thread-safe; it is closed again only when the last user has gone.
package final class NVML: Sendable {
    private let handle: LibraryHandle

    /// An open library; the pointer is only ever passed to dlsym(3) and dlclose(3), which are thread-safe.
    @safe private struct LibraryHandle: @unchecked Sendable {
        let pointer: UnsafeMutableRawPointer
    }

    /// Opens the library and starts it.
    package init(path: String = "libnvidia-ml.so.1") throws(GPUError) {
        guard let pointer = unsafe dlopen(path, RTLD_NOW | RTLD_LOCAL) else {
            let reason = unsafe dlerror().map { unsafe String(cString: $0) } ?? "unknown reason"
            throw .library(path: path, reason: reason)
        }
        guard let start: godwit_nvml_init = unsafe Self.symbol("nvmlInit_v2", in: pointer) else {
            unsafe dlclose(pointer)
            throw .library(
                path: path,
                reason: "it has no nvmlInit_v2, so it is not NVIDIA's library or older than driver 319"
            )
        }
        let code = start()
        guard code == GODWIT_NVML_SUCCESS else {
            let reason = unsafe Self.text(of: code, in: pointer)
            unsafe dlclose(pointer)
            throw .call(name: "nvmlInit_v2", code: code, reason: reason)
        }
        // Last of all: a throw after this would run deinit, which closes the library too.
        unsafe handle = LibraryHandle(pointer: pointer)
    }

    deinit {
        if let stop: godwit_nvml_shutdown = unsafe Self.symbol("nvmlShutdown", in: handle.pointer) { _ = stop() }
        unsafe dlclose(handle.pointer)
    }

    /// The driver's version, such as `580.95.05`; nil when it does not tell.
    package var driverVersion: String? {
        guard let call: godwit_nvml_driver_version = unsafe symbol("nvmlSystemGetDriverVersion") else { return nil }
        return unsafe Self.text(80) { buffer, length in unsafe call(buffer, length) }
    }

    /// All devices that the driver shows; one that cannot be read has a `problem`.
    package func devices() throws(GPUError) -> [DeviceSample] {
        guard let count: godwit_nvml_device_count = unsafe symbol("nvmlDeviceGetCount_v2") else {
            throw .library(path: "libnvidia-ml", reason: "it has no nvmlDeviceGetCount_v2")
        }
        var number: UInt32 = 0
        let code = unsafe count(&number)
        guard code == GODWIT_NVML_SUCCESS else {
            throw .call(name: "nvmlDeviceGetCount_v2", code: code, reason: reason(code))
        }
        // No machine has more; an odd answer must not make the agent loop for ever.
        return (0..<min(number, 256)).map { device(at: $0) }
    }

    private func device(at index: UInt32) -> DeviceSample {
        var sample = DeviceSample(vendor: .nvidia, index: Int(index), uuid: "", name: "unknown NVIDIA GPU")
        guard let open: godwit_nvml_device_handle = unsafe symbol("nvmlDeviceGetHandleByIndex_v2") else {
            sample.problem = "The driver's library has no nvmlDeviceGetHandleByIndex_v2: update the driver."
            return sample
        }
        var opened: godwit_nvml_device? = nil
        let code = unsafe open(index, &opened)
        guard code == GODWIT_NVML_SUCCESS, let device = unsafe opened else {
            sample.problem = problem(code)
            return sample
        }
        if let uuid = unsafe text("nvmlDeviceGetUUID", device) { sample.uuid = uuid }
        if let name = unsafe text("nvmlDeviceGetName", device) { sample.name = name }
        sample.minor = unsafe number("nvmlDeviceGetMinorNumber", device).value.map { Int($0) }
        unsafe readMemory(device, into: &sample)
        unsafe readUtilization(device, into: &sample)
        sample.temperatureCelsius = unsafe temperature(device)
        sample.powerWatts = unsafe number("nvmlDeviceGetPowerUsage", device).value.map { Double($0) / 1000 }
        sample.processes = unsafe processes(device)
        return sample
    }

    private func readMemory(_ device: godwit_nvml_device, into sample: inout DeviceSample) {
        if let call: godwit_nvml_device_memory_v2 = unsafe symbol("nvmlDeviceGetMemoryInfo_v2") {
            var memory = godwit_nvml_memory_v2()
            memory.version = godwit_nvml_memory_v2_version
            if unsafe call(device, &memory) == GODWIT_NVML_SUCCESS {
                (sample.memoryTotal, sample.memoryUsed) = (Self.amount(memory.total), Self.amount(memory.used))
                return
            }
        }
        guard let call: godwit_nvml_device_memory = unsafe symbol("nvmlDeviceGetMemoryInfo") else { return }
        var memory = godwit_nvml_memory()
        let code = unsafe call(device, &memory)
        guard code == GODWIT_NVML_SUCCESS else {
            // Integrated GPUs have no memory of their own; everything else that fails here cannot be given to a job.
            if code != GODWIT_NVML_NOT_SUPPORTED { sample.problem = problem(code) }
            return
        }
        (sample.memoryTotal, sample.memoryUsed) = (Self.amount(memory.total), Self.amount(memory.used))
    }

    private func readUtilization(_ device: godwit_nvml_device, into sample: inout DeviceSample) {
        guard let call: godwit_nvml_device_utilization = unsafe symbol("nvmlDeviceGetUtilizationRates") else { return }
        var utilization = godwit_nvml_utilization()
        let code = unsafe call(device, &utilization)
        if code == GODWIT_NVML_SUCCESS {
            sample.utilization = Double(min(utilization.gpu, 100)) / 100
        } else if code == GODWIT_NVML_GPU_IS_LOST {
            sample.problem = problem(code)
        }
    }

    private func temperature(_ device: godwit_nvml_device) -> Double? {
        if let call: godwit_nvml_device_temperature_v = unsafe symbol("nvmlDeviceGetTemperatureV") {
            var value = godwit_nvml_temperature()
            value.version = godwit_nvml_temperature_version
            if unsafe call(device, &value) == GODWIT_NVML_SUCCESS { return Double(value.temperature) }
        }
        guard let call: godwit_nvml_device_temperature = unsafe symbol("nvmlDeviceGetTemperature") else { return nil }
        var celsius: UInt32 = 0
        return unsafe call(device, 0, &celsius) == GODWIT_NVML_SUCCESS ? Double(celsius) : nil
    }

    private func processes(_ device: godwit_nvml_device) -> [DeviceSample.Process] {
        guard
            let call: godwit_nvml_device_processes =
                unsafe symbol("nvmlDeviceGetComputeRunningProcesses_v3")
                ?? symbol("nvmlDeviceGetComputeRunningProcesses_v2")
        else { return [] }
        // Processes come and go between the question for the count and the one for the list, hence room and rounds.
        var capacity: UInt32 = 64
        for _ in 0..<4 {
            var list = [godwit_nvml_process](repeating: godwit_nvml_process(), count: Int(capacity))
            var count = capacity
            let code = unsafe list.withUnsafeMutableBufferPointer { unsafe call(device, &count, $0.baseAddress) }
            if code == GODWIT_NVML_SUCCESS {
                return list.prefix(Int(min(count, capacity))).map { process in
                    DeviceSample.Process(
                        id: Int32(clamping: process.pid),
                        memory: process.used_memory == .max ? nil : Self.amount(process.used_memory)
                    )
                }.sorted { $0.id < $1.id }
            }
            guard code == GODWIT_NVML_INSUFFICIENT_SIZE, count <= 1 << 16 else { return [] }
            capacity = max(count, capacity) + 16
        }
        return []
    }

    // MARK: Calls by name

    private func text(_ name: String, _ device: godwit_nvml_device) -> String? {
        guard let call: godwit_nvml_device_text = unsafe symbol(name) else { return nil }
        return unsafe Self.text(96) { buffer, length in unsafe call(device, buffer, length) }
    }

    private func number(_ name: String, _ device: godwit_nvml_device) -> (value: UInt32?, code: Int32) {
        guard let call: godwit_nvml_device_number = unsafe symbol(name) else { return (nil, GODWIT_NVML_NOT_SUPPORTED) }
        var value: UInt32 = 0
        let code = unsafe call(device, &value)
        return (code == GODWIT_NVML_SUCCESS ? value : nil, code)
    }

    private static func text(_ length: Int, _ call: (UnsafeMutablePointer<CChar>, UInt32) -> Int32) -> String? {
        unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: length + 1) { buffer in
            unsafe buffer.initialize(repeating: 0)
            guard let base = buffer.baseAddress, unsafe call(base, UInt32(length)) == GODWIT_NVML_SUCCESS else {
                return nil
            }
            let text = unsafe String(cString: base)
            return text.isEmpty ? nil : text
        }
    }

    private static func amount(_ bytes: UInt64) -> ByteCount { .bytes(Int64(clamping: bytes)) }

    private func problem(_ code: Int32) -> String {
        let advice =
            switch code {
            case GODWIT_NVML_GPU_IS_LOST: "It fell off the bus: drain the node and reboot it."
            case 4: "Run the agent as root."
            case 16: "Reset it (nvidia-smi --gpu-reset) when nothing uses it."
            case 17: "A cgroup or container hides /dev/nvidia*: give the agent access to them."
            default: "Look for Xid messages in the kernel log (dmesg)."
            }
        return "The driver cannot read this device (\(reason(code))). \(advice)"
    }

    private func reason(_ code: Int32) -> String { unsafe Self.text(of: code, in: handle.pointer) }

    private static func text(of code: Int32, in library: UnsafeMutableRawPointer) -> String {
        guard let call: godwit_nvml_error_string = unsafe symbol("nvmlErrorString", in: library),
            let text = unsafe call(code)
        else { return "NVML error \(code)" }
        return unsafe String(cString: text)
    }

    private func symbol<Function>(_ name: String) -> Function? { unsafe Self.symbol(name, in: handle.pointer) }

    /// The caller names the type that the header gives the function.
    private static func symbol<Function>(_ name: String, in library: UnsafeMutableRawPointer) -> Function? {
        guard let address = unsafe dlsym(library, name) else { return nil }
        return unsafe unsafeBitCast(address, to: Function.self)
    }
}
