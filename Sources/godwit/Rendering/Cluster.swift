import ClusterModel
import ControlMessages

extension Presentation {
    /// The cluster in a few lines.
    func status(_ reply: WireStatusReply) -> [String] {
        var fields = FieldList()
        let verdict = reply.hasHealth ? ClusterVerdict(reply, self) : nil
        fields.add("cluster", reply.cluster, .strong)
        if let verdict { fields.add("health", verdict.summary, verdict.tone) }
        let since = reply.health.leaderSinceUnixSeconds
        fields.add(
            "leader",
            reply.leader.isEmpty
                ? "none" : "\(reply.leader) (term \(reply.term))" + (since > 0 ? ", since \(moment(since))" : ""),
            reply.leader.isEmpty ? .bad : .plain
        )
        if verdict != nil { fields.add("voters", ClusterVerdict.voters(reply.health)) }
        let teller = reply.health.answeredBy.isEmpty ? "" : "\(reply.health.answeredBy) answers: "
        fields.add("agent", "\(teller)\(reply.agentVersion), up \(length(reply.uptimeSeconds))")
        fields.add(
            "nodes",
            verdict == nil ? String(reply.nodeCount) : ClusterVerdict.nodes(reply.nodeCount, reply.health)
        )
        let share = reply.capacityVcpus > 0 ? reply.allocatedVcpus / reply.capacityVcpus : 0
        fields.add(
            "CPU",
            "\(bar(share, width: 16)) \(vcpus(reply.allocatedVcpus)) of \(vcpus(reply.capacityVcpus)) vCPUs allocated "
                + "(\(percent(share)))"
        )
        var jobs = ["\(reply.jobsRunning) running", "\(reply.jobsQueued) queued"]
        if reply.jobsSuspended > 0 { jobs.append("\(reply.jobsSuspended) suspended") }
        if reply.jobsEnded > 0 { jobs.append("\(reply.jobsEnded) ended") }
        fields.add("jobs", jobs.joined(separator: ", "))
        if reply.jobsAtRisk > 0 {
            fields.add("at risk", "\(count(reply.jobsAtRisk, "job")) may miss the deadline", .bad)
        }
        let problems = (verdict?.problems ?? []) + reply.problems
        for (index, problem) in problems.enumerated() {
            fields.add(index == 0 ? "problems" : "", problem, index == 0 && verdict?.tone == .bad ? .bad : .warning)
        }
        if problems.isEmpty { fields.add("problems", "none", .good) }
        return fields.lines(self)
    }

    /// Nodes as a table.
    func nodeTable(_ nodes: [WireNode]) -> [String] {
        var table = Table(columns: [
            .init(title: "NAME", minimumWidth: 10),
            .init(title: "SITE", minimumWidth: 6, dropOrder: 2),
            .init(title: "ROLE", dropOrder: 0),
            .init(title: "STATE"),
            .init(title: "JOBS", isRight: true),
            .init(title: "VCPUS", isRight: true),
            .init(title: "ALLOCATED", isRight: true),
            .init(title: "USED", isRight: true, dropOrder: 0),
            .init(title: "MEMORY", isRight: true, dropOrder: 1),
            .init(title: "GPUS", isRight: true, dropOrder: 4, isOptional: true),
            .init(title: "UPTIME", isRight: true, dropOrder: 3),
            .init(title: "VERSION", dropOrder: 5),
        ])
        table.rows = nodes.map { node in
            [
                .init(node.name, .strong), .init(node.site), .init(node.role), .init(node.state, nodeTone(node)),
                .init(String(node.runningJobs)), .init(vcpus(node.capacityVcpus)), .init(vcpus(node.allocatedVcpus)),
                .init(vcpus(node.usedVcpus)),
                .init("\(bytes(node.memoryUsedBytes)) of \(bytes(node.memoryBytes))"),
                .init(node.gpus.isEmpty ? "" : String(node.gpus.count)), .init(length(node.uptimeSeconds)),
                .init(node.version),
            ]
        }
        return table.lines(self)
    }

    /// What a node's state means to a reader.
    func nodeTone(_ node: WireNode) -> Tone {
        switch node.state {
        case "alive": .good
        case "joining": .notice
        case "lost": .bad
        case "left": .faint
        default: .warning
        }
    }

    /// One node: what it has, what it can do, what runs there.
    func nodeDetail(_ reply: WireNodeShowReply) -> [String] {
        let node = reply.node
        var lines = [
            [paint(printable(node.name), .strong), paint(printable(node.state), nodeTone(node))].joined(separator: dot)
        ]
        var fields = FieldList()
        fields.add("site", node.site)
        fields.add("role", node.role)
        fields.add("address", node.address)
        fields.add("agent", "\(node.version), up \(length(node.uptimeSeconds))")
        fields.add("kernel", node.kernel)
        let share = node.capacityVcpus > 0 ? node.allocatedVcpus / node.capacityVcpus : 0
        fields.add(
            "CPU",
            "\(bar(share, width: 16)) \(vcpus(node.allocatedVcpus)) of \(vcpus(node.capacityVcpus)) vCPUs allocated, "
                + "\(vcpus(node.usedVcpus)) used"
        )
        let memoryShare = node.memoryBytes > 0 ? Double(node.memoryUsedBytes) / Double(node.memoryBytes) : 0
        fields.add(
            "memory",
            "\(bar(memoryShare, width: 16)) \(bytes(node.memoryUsedBytes)) of \(bytes(node.memoryBytes)) used"
        )
        if node.certificateNotAfterUnixSeconds > 0 {
            let isPast = node.certificateNotAfterUnixSeconds <= now
            fields.add(
                "identity",
                "valid until \(moment(node.certificateNotAfterUnixSeconds))",
                isPast ? .bad : .plain
            )
        }
        if node.reportedUnixSeconds > 0 { fields.add("told", distance(to: node.reportedUnixSeconds)) }
        lines += fields.lines(self)
        if !node.gpus.isEmpty { lines += ["", paint("GPUs", .strong)] + deviceTable(node.gpus) }
        if node.hasProcessor { lines += ["", paint("processor", .strong)] + processorLines(node.processor) }
        if !node.capabilities.isEmpty {
            lines += ["", paint("capabilities", .strong)] + capabilityLines(node.capabilities)
        }
        if !reply.jobs.isEmpty { lines += ["", paint("jobs", .strong)] + jobTable(reply.jobs) }
        if !reply.departures.isEmpty {
            lines += ["", paint("leaving", .strong)] + departureTable(reply.departures)
        } else if node.state == "draining" {
            lines += ["", "no job is left"]
        }
        return lines
    }

    /// What a container may have made itself dependent on: it moves only to where all of that is.
    private func processorLines(_ processor: WireProcessor) -> [String] {
        var facts = [processor.architecture]
        if processor.stateBytes > 0 { facts.append("\(processor.stateBytes) bytes of state") }
        facts.append(processor.criu.isEmpty ? "no CRIU that works" : "CRIU \(processor.criu)")
        let room = width.map { max(20, $0 - 2) }
        let features = wrapped(printable(processor.features.joined(separator: " ")), to: room)
        return ([printable(facts.joined(separator: ", "))] + features).map { "  " + $0 }
    }

    /// What becomes of the jobs of a node that is being drained.
    func departureTable(_ departures: [WireJobDeparture]) -> [String] {
        guard !departures.isEmpty else { return [] }
        var table = Table(columns: [
            .init(title: "JOB", minimumWidth: 8),
            .init(title: "TO", minimumWidth: 4),
            .init(title: "PROGRESS", minimumWidth: 20),
        ])
        table.rows = departures.map { departure in
            [
                .init(departure.name), .init(departure.to.isEmpty ? unknown : departure.to),
                .init(oneLine(departure.message)),
            ]
        }
        return table.lines(self)
    }

    private func deviceTable(_ devices: [WireDevice]) -> [String] {
        var table = Table(columns: [
            .init(title: "INDEX", isRight: true),
            .init(title: "NAME", minimumWidth: 10),
            .init(title: "UTILIZATION", isRight: true),
            .init(title: "MEMORY USED", isRight: true, dropOrder: 0),
            .init(title: "TEMPERATURE", isRight: true, dropOrder: 2),
            .init(title: "POWER", isRight: true, dropOrder: 1),
            .init(title: "UUID", dropOrder: 3),
        ])
        table.rows = devices.map { device in
            [
                .init(String(device.index)), .init(device.name),
                .init(device.utilization >= 0 ? percent(device.utilization) : unknown),
                .init("\(bytes(device.memoryUsedBytes)) of \(bytes(device.memoryBytes))"),
                .init(device.temperatureCelsius > 0 ? "\(device.temperatureCelsius.text(decimals: 0)) °C" : unknown),
                .init(device.powerWatts > 0 ? "\(device.powerWatts.text(decimals: 0)) W" : unknown), .init(device.uuid),
            ]
        }
        return table.lines(self)
    }

    private func capabilityLines(_ capabilities: [WireCapability]) -> [String] {
        let nameWidth = capabilities.reduce(0) { max($0, columns(of: $1.name)) }
        return capabilities.flatMap { capability in
            let mark =
                capability.isPresent
                ? paint(usesUnicode ? "✓" : "yes", .good) : paint(usesUnicode ? "✗" : "no ", .bad)
            let padding = String(repeating: " ", count: nameWidth - columns(of: capability.name) + 2)
            let indent = String(repeating: " ", count: nameWidth + 5 + (usesUnicode ? 1 : 3))
            let room = width.map { max(20, $0 - indent.count) }
            let parts =
                capability.isPresent
                ? [capability.detail]
                : [capability.detail, capability.cost, capability.remedy.isEmpty ? "" : "Remedy: \(capability.remedy)"]
            let text = parts.filter { !$0.isEmpty }.flatMap { wrapped(printable($0), to: room) }
            let first = "  \(mark) \(printable(capability.name))" + (text.isEmpty ? "" : padding + text[0])
            return [first] + text.dropFirst().map { indent + $0 }
        }
    }
}
