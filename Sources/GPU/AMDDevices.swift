internal import ClusterModel
internal import LinuxSystem
package import ResourceSamples

/// AMD GPUs as the amdgpu driver shows them in sysfs (Documentation/gpu/amdgpu); nothing needs to be installed for it.
package struct AMDDevices: Sendable {
    private let root: String

    /// Reads below another folder than /sys, for tests.
    package init(root: String = "/sys") { self.root = root }

    /// All devices that the driver shows, by card number; none where there is no such driver.
    package func devices() -> [DeviceSample] {
        let folder = root + "/class/drm"
        let cards = ((try? FileSystem.list(folder)) ?? []).compactMap { name -> Int? in
            // card0-DP-1 and the like are outputs of a card.
            name.hasPrefix("card") ? Int(name.dropFirst(4)) : nil
        }.sorted()
        var samples: [DeviceSample] = []
        for card in cards {
            let device = "\(folder)/card\(card)/device"
            guard line(device + "/vendor") == "0x1002", let total = number(device + "/mem_info_vram_total") else {
                continue
            }
            samples.append(sample(card: card, device: device, total: total, index: samples.count))
        }
        return samples
    }

    private func sample(card: Int, device: String, total: UInt64, index: Int) -> DeviceSample {
        let sensors = ((try? FileSystem.list(device + "/hwmon")) ?? []).map { "\(device)/hwmon/\($0)" }
        func sensor(_ name: String) -> Double? {
            sensors.lazy.compactMap { number("\($0)/\(name)") }.first.map { Double($0) }
        }
        let events = (try? FileSystem.readText(device + "/uevent")) ?? ""
        let address = events.split(separator: "\n").first { $0.hasPrefix("PCI_SLOT_NAME=") }.map { $0.dropFirst(14) }
        let identity = line(device + "/unique_id") ?? address.map { "pci-\($0)" } ?? "card\(card)"
        return DeviceSample(
            vendor: .amd,
            index: index,
            uuid: identity,
            name: line(device + "/product_name") ?? "AMD GPU \(line(device + "/device") ?? "of unknown kind")",
            minor: card,
            utilization: number(device + "/gpu_busy_percent").map { Double(min($0, 100)) / 100 },
            memoryTotal: .bytes(Int64(clamping: total)),
            memoryUsed: .bytes(Int64(clamping: number(device + "/mem_info_vram_used") ?? 0)),
            // Millidegrees and microwatts (Documentation/hwmon/sysfs-interface).
            temperatureCelsius: sensor("temp1_input").map { $0 / 1000 },
            powerWatts: (sensor("power1_average") ?? sensor("power1_input")).map { $0 / 1_000_000 },
            processes: processes(device: device)
        )
    }

    /// Compute processes, from the kfd driver: it numbers devices anew, and its topology tells the render node of each.
    private func processes(device: String) -> [DeviceSample.Process] {
        let kfd = root + "/class/kfd/kfd"
        let renderMinors = Set(
            ((try? FileSystem.list(device + "/drm")) ?? []).compactMap { name in
                name.hasPrefix("renderD") ? UInt64(name.dropFirst(7)) : nil
            }
        )
        guard let identity = deviceNumber(kfd: kfd, renderMinors: renderMinors) else { return [] }
        return ((try? FileSystem.list(kfd + "/proc")) ?? []).compactMap { Int32($0) }.sorted().compactMap { pid in
            guard let used = number("\(kfd)/proc/\(pid)/vram_\(identity)") else { return nil }
            return DeviceSample.Process(id: pid, memory: .bytes(Int64(clamping: used)))
        }
    }

    private func deviceNumber(kfd: String, renderMinors: Set<UInt64>) -> UInt64? {
        for node in (try? FileSystem.list(kfd + "/topology/nodes")) ?? [] {
            let folder = "\(kfd)/topology/nodes/\(node)"
            let properties = (try? FileSystem.readText(folder + "/properties")) ?? ""
            let minor = properties.split(separator: "\n").first { $0.hasPrefix("drm_render_minor ") }
                .flatMap { UInt64($0.dropFirst("drm_render_minor ".count)) }
            guard let minor, renderMinors.contains(minor), let identity = number(folder + "/gpu_id"), identity != 0
            else { continue }
            return identity
        }
        return nil
    }

    private func line(_ path: String) -> String? {
        guard let text = try? FileSystem.readLine(path), !text.isEmpty else { return nil }
        return text
    }

    private func number(_ path: String) -> UInt64? { line(path).flatMap { UInt64($0) } }
}
