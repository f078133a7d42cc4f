package import ClusterModel
internal import LinuxSystem
package import ResourceSamples
internal import Synchronization

/// The GPUs of this machine and what they are doing.
///
/// NVIDIA devices come from the driver's library, or from `nvidia-smi` where that cannot be opened; AMD devices from sysfs. A driver
/// can hang in a call for ever, so the calls are made on a thread of their own and waiting for it has a limit.
package final class GPUInventory: Sendable {
    private typealias Answer = Result<[DeviceSample], GPUError>
    private struct State {
        var waiting: [UInt64: CheckedContinuation<[DeviceSample], any Error>] = [:]
        var lastWaiter: UInt64 = 0
        var isAsking = false
    }
    private enum Source: Sendable {
        case library(NVML)
        case tool(NVIDIATool)
        case none(GPUError)
    }
    private struct Opening: Sendable {
        var library: String
        var tool: String
        var source: Source?
    }

    private let state = Mutex(State())
    private let opening: Mutex<Opening>
    private let amd: AMDDevices
    private let timeout: Duration

    /// Prepares to look; opens nothing yet.
    ///
    /// - Parameters:
    ///   - library: NVIDIA's management library, a name for dlopen(3) or a path.
    ///   - tool: `nvidia-smi`, a name or a path.
    ///   - sysfs: where sysfs is mounted.
    ///   - timeout: how long a question may take.
    package init(
        library: String = "libnvidia-ml.so.1",
        tool: String = "nvidia-smi",
        sysfs: String = "/sys",
        timeout: Duration = .seconds(5)
    ) {
        opening = Mutex(Opening(library: library, tool: tool))
        amd = AMDDevices(root: sysfs)
        self.timeout = timeout
    }

    /// All GPUs, NVIDIA's first; empty on a machine that has none.
    ///
    /// - Returns: the samples; a device that cannot be used has a `problem`.
    /// - Throws: ``GPUError`` when there is a driver but it fails or hangs.
    package func devices() async throws -> [DeviceSample] {
        let id = state.withLock { state in
            state.lastWaiter += 1
            return state.lastWaiter
        }
        let limit = timeout
        let timer = Task(name: "godwit-gpu-limit") { [weak self] in
            try await Task.sleep(for: limit)
            self?.giveUp(id, after: limit)
        }
        defer { timer.cancel() }
        return try await withCheckedThrowingContinuation { join(id, $0) }
    }

    /// Whether this machine has GPUs that jobs can use, for `godwitd doctor`.
    package func capability() async -> CapabilityReport {
        let cost = "Jobs that ask for a GPU are not placed on this node."
        do {
            let devices = try await devices()
            let usable = devices.filter { $0.problem == nil }
            if let broken = devices.first(where: { $0.problem != nil }), usable.isEmpty {
                return .absent("gpu", broken.name, cost: cost, remedy: broken.problem ?? "")
            }
            guard !usable.isEmpty else {
                return .absent(
                    "gpu",
                    "no NVIDIA or AMD device",
                    cost: cost,
                    remedy: "Nothing to do on a machine without a GPU; otherwise install the NVIDIA or amdgpu driver."
                )
            }
            let driver = opening.withLock { opening -> String? in
                if case .library(let library) = opening.source { return library.driverVersion }
                return nil
            }
            let names = usable.map { "\($0.name) (\($0.memoryTotal))" }.joined(separator: ", ")
            return .present("gpu", names + (driver.map { ", driver \($0)" } ?? ""))
        } catch {
            return .absent(
                "gpu",
                "\(error)",
                cost: cost,
                remedy: "Repair the driver: nvidia-smi must list the devices."
            )
        }
    }

    // MARK: Asking with a limit

    private func join(_ id: UInt64, _ continuation: CheckedContinuation<[DeviceSample], any Error>) {
        let mustAsk = state.withLock { state in
            state.waiting[id] = continuation
            defer { state.isAsking = true }
            return !state.isAsking
        }
        // While a question hangs, later ones join it and run into their own limit: no second thread is lost to the driver.
        guard mustAsk else { return }
        do throws(SystemError) {
            try SystemThread.start(name: "godwit-gpu") { [self] in answer(ask()) }
        } catch {
            answer(.failure(.tool(reason: error.description)))
        }
    }

    private func answer(_ answer: Answer) {
        let waiting = state.withLock { state in
            defer { state.waiting = [:] }
            state.isAsking = false
            return state.waiting
        }
        for continuation in waiting.values { continuation.resume(with: answer.mapError { $0 }) }
    }

    private func giveUp(_ id: UInt64, after limit: Duration) {
        let continuation = state.withLock { $0.waiting.removeValue(forKey: id) }
        continuation?.resume(throwing: GPUError.hanging(seconds: Int(limit.inSeconds.rounded(.up))))
    }

    private func ask() -> Answer {
        do {
            return .success(try nvidiaDevices() + amd.devices())
        } catch let error as GPUError {
            return .failure(error)
        } catch {
            return .failure(.tool(reason: "\(error)"))
        }
    }

    private func nvidiaDevices() throws -> [DeviceSample] {
        switch source() {
        case .library(let library): return try library.devices()
        case .tool(let tool): return try tool.devices()
        // No library at all means no NVIDIA driver; one that cannot start is a fault to tell.
        case .none(.library): return []
        case .none(let error): throw error
        }
    }

    /// Opened at the first question and kept; looked for again as long as there is none, since a driver may be installed later.
    private func source() -> Source {
        let settings = opening.withLock { $0 }
        switch settings.source {
        case .library, .tool: return settings.source ?? .none(.library(path: settings.library, reason: ""))
        case .none?, nil: break
        }
        let tool = NVIDIATool(program: settings.tool)
        let found: Source
        do throws(GPUError) {
            found = .library(try NVML(path: settings.library))
        } catch {
            found = tool.isInstalled ? .tool(tool) : .none(error)
        }
        opening.withLock { $0.source = found }
        return found
    }
}
