import AgentConfiguration
import ClusterModel
import ClusterState
import ImageStore
import LinuxSystem
import Logging
import QoS
import ResourceSamples
import Transport

// What the configuration means to each part of the agent.
extension AgentProgram {
    static func configureLimits(_ configuration: AgentConfiguration, _ replica: Replica) async throws {
        var limits = StateLimits()
        limits.liveJobs = configuration.limits.jobs
        limits.endedJobs = configuration.limits.endedJobs
        limits.endedRetention = configuration.limits.endedRetention
        if await replica.state.limits != limits { try await replica.propose(.configure(limits)) }
    }

    static func nodeSettings(
        _ configuration: AgentConfiguration,
        devices: [Int],
        network: NodeNetwork?
    ) throws -> NodeControllerSettings {
        let own = VCPUCount(Double(Machine.processorCount))
        let wanted = configuration.qos.capacity > .zero ? configuration.qos.capacity : own - configuration.qos.reserve
        guard wanted.rawValue >= 0.1 else {
            throw Failure("qos.reserve leaves \(wanted) of \(own) vCPUs for jobs; reserve less", exitCode: 78)
        }
        var settings = NodeControllerSettings(capacity: wanted, memory: try Machine.memory().total, devices: devices)
        settings.period = configuration.sampling.period
        settings.controlPeriod = configuration.qos.controlPeriod
        settings.recordPeriod = configuration.sampling.recordPeriod
        settings.startsContainers = configuration.limits.schedulesJobs
        settings.network = network
        let disk = StateDisk(folder: configuration.folders.state)
        settings.diskProblem = { disk.problem() }
        settings.containerLimit = configuration.limits.jobs
        settings.checkpointLimit = configuration.checkpoints.concurrency
        settings.intervalByCost = true
        return settings
    }

    static func copySettings(_ configuration: AgentConfiguration) -> CopySettings {
        var settings = CopySettings()
        let period = configuration.checkpoints.scrubPeriod
        settings.scrubPeriod = period > .zero ? period : nil
        settings.scrubRate = configuration.checkpoints.scrubRate.rawValue
        return settings
    }

    static func checkpointStore(_ configuration: AgentConfiguration, _ replica: Replica) throws -> SystemCheckpointStore
    {
        let threads = configuration.checkpoints.compressionThreads
        return SystemCheckpointStore(
            store: try ImageStore(
                folder: configuration.folders.state + "/checkpoints",
                configuration: ImageStoreConfiguration(
                    workerThreads: threads == 0 ? nil : threads,
                    contentHashes: true,
                    reserve: configuration.checkpoints.minimumFree
                )
            ),
            spaceLimit: configuration.checkpoints.spaceLimit,
            keys: { await replica.state.checkpointKeys },
            sharesData: {
                let state = await replica.state
                return state.nodes.isEmpty || state.version >= 6
            }
        )
    }

    /// Where other agents reach this one.
    static func advertisedAddress(_ configuration: AgentConfiguration, port: Int) throws -> PeerAddress {
        if let told = configuration.cluster.advertise { return told.with(port: told.port ?? port) }
        if let own = try? PeerAddress(configuration.listen.address) { return own.with(port: port) }
        let addresses = Machine.addresses()
        guard let first = addresses.first, let address = try? PeerAddress(first) else {
            return try PeerAddress("127.0.0.1").with(port: port)
        }
        return address.with(port: port)
    }

    static func policyConfiguration(_ configuration: AgentConfiguration) -> QoS::QoSConfiguration {
        var policy = QoS::QoSConfiguration()
        policy.workUncertainty = configuration.qos.workUncertainty
        policy.deadlineGuard = configuration.qos.deadlineGuard
        policy.minimumAllocation = configuration.qos.minimumAllocation.rawValue
        policy.paperInterval = configuration.qos.paperInterval
        return policy
    }

    static func serverConfiguration(
        _ configuration: AgentConfiguration,
        logger: Logger
    ) -> RPCServerConfiguration {
        var limits = RPCLimits.agent
        limits.maximumConnections = configuration.limits.connections
        return RPCServerConfiguration(software: "godwitd \(version)", limits: limits) { event in
            switch event {
            case .opened(let peer, let address):
                logger.debug("connection.opened", metadata: ["peer": "\(peer)", "address": "\(address)"])
            case .refused(let address, let reason):
                logger.info("connection.refused", metadata: ["address": "\(address)", "reason": "\(reason)"])
            }
        }
    }

    static func log(_ event: PeerEvent, _ logger: Logger) {
        switch event {
        case .refused(let node, let failure):
            logger.error("peer.refused", metadata: ["by": "\(node)", "reason": "\(failure.message)"])
        case .certificateRefused(let node, let failure):
            logger.error(
                "peer.certificate.refused",
                metadata: ["node": "\(node)", "reason": "\(failure.message)"]
            )
        case .connected, .unreachable: logger.debug("peer", metadata: ["event": "\(event)"])
        }
    }

    /// What this node tells the others about itself.
    static func summary(
        _ facts: NodeFacts,
        _ controller: NodeController,
        _ monitor: ResourceMonitor,
        startedAt: Timestamp
    ) async -> NodeFactsSummary {
        let use = await controller.use
        let reading = await monitor.reading
        var summary = NodeFactsSummary()
        summary.site = facts.site
        summary.role = facts.role
        summary.version = productVersion
        summary.capabilities = Set(facts.capabilities.filter(\.isPresent).map(\.name))
        summary.load.capacity = controller.settings.capacity
        summary.load.used = use.vcpus
        summary.load.memoryTotal = reading.memoryTotal
        summary.load.memoryUsed = reading.memoryUsed
        let running = await controller.running
        (summary.load.containerCount, summary.load.allocated) = (running.count, running.allocated)
        summary.kernel = facts.kernel
        summary.startedAt = UInt32(clamping: Int64(startedAt.seconds))
        if let cgroup = facts.capabilities.first(where: { $0.name == "cgroup" }), cgroup.isPresent {
            summary.cgroupVersion = cgroup.detail.hasSuffix("v2") ? 2 : 1
        }
        summary.deviceModel = reading.devices.first?.name ?? ""
        summary.devices = reading.devices.map { device in
            NodeFactsSummary.Device(
                vendor: device.vendor,
                utilization: device.utilization,
                memoryTotal: device.memoryTotal,
                memoryUsed: device.memoryUsed,
                hasProblem: device.problem != nil
            )
        }
        return summary
    }
}
