import AgentConfiguration
import ClusterModel
import ClusterState
import Containers
import GPU
import LinuxSystem
import Logging
import Metrics
import NIO
import ResourceSamples
import ServiceLifecycle
import Storage
import TLS
import Transport
import UnixSignals

// `godwitd run`: puts the parts together, in the order in which they need each other.
extension AgentProgram {
    /// Runs the agent until it is told to stop.
    ///
    /// `settings` are words of the form `section.key=value`, which override the file and the environment.
    package static func run(configurationPath: String, settings: [String] = []) async throws {
        let (configuration, bundle) = try readIdentity(configurationPath: configurationPath, settings: settings)
        guard case .node(let cluster, let site, let node, let role) = bundle.identity else {
            throw Failure(
                "\(configuration.identity.bundle) is the certificate of \(bundle.identity), and an agent needs one of a node; make it "
                    + "with `godwit ca issue --node NAME --site SITE --role worker`",
                exitCode: 78
            )
        }
        let mark = DepartureMark(folder: configuration.folders.state)
        if let objection = mark.objection { throw Failure(objection, exitCode: 78) }
        if !configuration.identity.issuer.isEmpty {
            do { _ = try CertificateAuthority.load(from: configuration.identity.issuer) } catch {
                throw Failure("identity.issuer cannot be used: \(error)", exitCode: 78)
            }
        }
        let registry = MetricsRegistry()
        let logger = bootstrap(configuration, registry: registry, node: node)
        try prepareFolders(configuration)

        if let problem = await CRIUKernelCache.renew(criuCandidates(configuration)) {
            logger.debug("criu.cache.failed", metadata: ["error": "\(problem)"])
        }
        let probed = await probe(configuration)
        let reports = probed.capabilities
        for report in reports where !report.isPresent {
            logger.log(
                level: report.isRequired ? .warning : .info,
                "node.capability.missing",
                metadata: ["capability": "\(report.name)", "cost": "\(report.cost)", "remedy": "\(report.remedy)"]
            )
        }
        let facts = NodeFacts(
            cluster: cluster,
            site: site,
            node: node,
            role: role,
            kernel: Machine.kernelRelease,
            capabilities: reports,
            startedAt: .now
        )
        let agentMetrics = AgentMetrics(registry: registry)
        let copyMetrics = CopyMetrics(registry: registry)
        let (store, _) = try await StateStore.open(folder: configuration.folders.state + "/state")
        let raftLink = LateRaftLink()
        let replica = try await Replica(
            store: store,
            link: raftLink,
            founds: configuration.cluster.join.isEmpty,
            metrics: agentMetrics,
            logger: logger,
            snapshotInterval: configuration.limits.snapshotEntries
        )
        let hub = ChangeHub()
        await replica.listen { jobs in hub.publish(jobs) }
        let isAlone = await replica.isAlone
        if isAlone {
            try await configureLimits(configuration, replica)
            try await CopyLeader.tendKeys(replica, logger: logger, at: WallClock.now())
        }
        let fencing = FencingConfiguration(partitionTimeout: configuration.cluster.partitionTimeout)
        // After a recovery others may go on for a while with what this log says is ours.
        let isSettling = await replica.state.isSettling
        let fence = LeaderFence(
            fencing,
            lease: LeaseFile(configuration),
            isAlone: isAlone && !isSettling,
            logger: logger
        )

        let inventory = GPUInventory()
        let monitor = await ResourceMonitor(inventory: inventory)
        let hasBridge = reports.contains { $0.name == "network.bridge" && $0.isPresent }
        let settings = try nodeSettings(
            configuration,
            devices: await monitor.reading.devices.map(\.index),
            network: hasBridge ? configuration.network.offered : nil
        )
        let host = try SystemContainerHost(
            configuration,
            criu: probed.facts.criu,
            capacity: settings.capacity,
            inventory: inventory,
            logger: logger
        )
        let images = try checkpointStore(configuration, replica)
        let tls = try ReloadableTLSContext(path: configuration.identity.bundle)
        let group = MultiThreadedEventLoopGroup(numberOfThreads: min(4, Machine.processorCount))
        let directory = PeerDirectory()
        directory.lineage = await replica.lineage
        let refusals = PeerRefusals()
        let peers = PeerConnections(
            node: node,
            member: replica.member,
            address: nil,
            directory: directory,
            software: "godwitd \(version)",
            group: group,
            generator: SeededGenerator(seed: .random(in: .min ... .max)),
            tls: { tls.client },
            observe: { event in
                refusals.note(event)
                log(event, logger)
            }
        )
        let now: @Sendable () -> Timestamp = { WallClock.now() }
        let copies = CopyKeeper(
            node: node,
            replica: replica,
            images: images,
            link: peers,
            hub: hub,
            settings: copySettings(configuration),
            metrics: copyMetrics,
            logger: logger,
            now: now
        )
        let desk = MigrationDesk(bytesPerSecond: configuration.checkpoints.migrationRate.rawValue) { job in
            host.migrationFacts(of: job)
        }
        let controller = NodeController(
            node: node,
            replica: replica,
            host: host,
            images: images,
            qos: policyConfiguration(configuration),
            hub: hub,
            metrics: agentMetrics,
            settings: settings,
            copies: copies,
            link: peers,
            desk: desk,
            fence: fence,
            logger: logger,
            now: now
        )
        if isAlone { try await controller.open() }

        raftLink.connect(PeerRaftLink(peers: peers, node: { directory.node(of: $0) }))
        let startedAt = now()
        let gossip = GossipService(
            facts: facts,
            replica: replica,
            peers: peers,
            group: group,
            profile: configuration.gossip.profile,
            registry: registry,
            logger: logger,
            now: now,
            summary: { await summary(facts, controller, monitor, startedAt: startedAt) }
        )
        let issuer: CertificateIssuer? =
            configuration.identity.issuer.isEmpty
            ? nil
            : CertificateIssuer(
                node: node,
                folder: configuration.identity.issuer,
                replica: replica,
                revocations: tls.revocations,
                logger: logger,
                now: now
            )
        let renewal = RenewalService(
            node: node,
            replica: replica,
            tls: tls,
            peers: peers,
            issuer: issuer,
            metrics: agentMetrics,
            logger: logger,
            now: now
        )
        let departure = DepartureService(
            node: node,
            replica: replica,
            directory: directory,
            peers: peers,
            forget: { node in
                await peers.forget(node)
                refusals.forget(node)
            },
            logger: logger,
            now: now
        )
        let lateServer = LateServer()
        let leaderService = LeaderService(
            cluster: cluster,
            node: node,
            replica: replica,
            hub: hub,
            fencing: fencing,
            suspects: { await gossip.suspects() },
            logger: logger,
            now: now
        )
        let control = ControlService(
            node: facts,
            replica: replica,
            controller: controller,
            store: store,
            hub: hub,
            containerLogs: host,
            resources: monitor,
            metrics: agentMetrics,
            leader: leaderService,
            fencing: fencing,
            gossip: gossip,
            refusals: refusals,
            certificateProblem: { renewal.problem },
            trust: TrustView(tls: tls, connected: { lateServer.certificates }),
            departure: departure,
            checkpoints: CheckpointAccess(images: images, link: peers, keeper: copies),
            logger: logger,
            now: now
        )
        let clusterNode = ClusterNode(
            facts: facts,
            seeds: configuration.cluster.join,
            replica: replica,
            leaderService: leaderService,
            fence: fence,
            directory: directory,
            peers: peers,
            gossip: gossip,
            offer: NodeOffer(
                vcpus: settings.capacity,
                memory: settings.memory,
                deviceCount: settings.devices.count,
                takesJobs: settings.startsContainers,
                network: settings.network,
                platform: probed.facts.platform,
                hasRoom: { settings.diskProblem() == nil },
                mayVote: configuration.cluster.voter == .auto,
                isIssuer: issuer != nil,
                passingLabels: { copies.labels }
            ),
            issuer: issuer,
            copies: CopySender(
                images: images,
                bytesPerSecond: configuration.checkpoints.copyRate.rawValue,
                metrics: copyMetrics
            ),
            keeper: copies,
            desk: desk,
            logger: logger,
            now: now
        )
        let gate = StartingGate(control, problems: { refusals.problems })
        if isAlone { gate.open() }
        let server = RPCServer(
            configuration: serverConfiguration(configuration, logger: logger),
            tls: tls.server,
            group: group,
            handler: RoutingHandler(
                node: node,
                local: gate,
                peers: PeerService(delegate: clusterNode, directory: directory, heard: { peers.heard(from: $0) }),
                link: peers,
                routing: clusterNode
            )
        )
        lateServer.connect(server)
        let address = try await server.start(host: configuration.listen.address, port: configuration.listen.port)
        clusterNode.isReached(at: try advertisedAddress(configuration, port: address.port ?? configuration.listen.port))
        let intake = Task(name: "cluster.intake") { await clusterNode.takeIn() }
        defer { intake.cancel() }
        var isMember = true
        if !isAlone {
            isMember = try await departure.begin {
                try await clusterNode.enter(within: configuration.cluster.partitionTimeout)
                try await controller.open()
            }
            if isMember { gate.open() }
        }
        var services: [any Service] = [
            ControllerService(controller: controller),
            leaderService,
            CopyLeader(
                replica: replica,
                hub: hub,
                suspects: { await gossip.suspects() },
                logger: logger,
                now: now
            ),
            RescueService(replica: replica, suspects: { await gossip.suspects() }, logger: logger, now: now),
            copies,
            clusterNode,
            gossip,
            MaintenanceService(replica: replica, store: store, host: host, logger: logger, now: now),
            monitor,
            TrustService(replica: replica, tls: tls, server: server, peers: peers, logger: logger, now: now),
            renewal,
            departure,
            ControlServerService(server: server, grace: configuration.shutdown.grace),
            // The last of these is the first to stop.
            LeadershipService(replica: replica),
        ]
        if configuration.metrics.isEnabled {
            services.append(
                MetricsService(
                    host: configuration.metrics.address,
                    port: configuration.metrics.port,
                    registry: registry,
                    logger: logger,
                    problems: { await control.problems() }
                )
            )
        }
        services.append(
            NotifierService(
                notifier: ServiceNotifier(),
                status: "node \(node) of cluster \(cluster) answers on \(address)",
                logger: logger
            )
        )
        let running = ServiceGroup(
            configuration: .init(
                services: services.map { .init(service: $0) },
                gracefulShutdownSignals: [.sigterm, .sigint],
                logger: logger
            )
        )
        if isMember {
            logger.notice(
                "agent.ready",
                metadata: [
                    "node": "\(node)", "cluster": "\(cluster)", "address": "\(address)", "version": "\(version)",
                ]
            )
            departure.onEnd { Task(name: "agent.end") { await running.triggerGracefulShutdown() } }
            try await running.run()
        } else {
            await server.shutdown(grace: .zero)
        }
        await replica.close()
        await peers.shutdown()
        try await store.close()
        if let reason = departure.reason {
            try mark.leave(reason, now: now())
            logger.notice("node.left", metadata: ["reason": "\(reason)"])
        }
        try await group.shutdownGracefully()
        logger.notice("agent.stopped")
    }

    /// Reads the configuration twice: its defaults depend on the role, and the certificate that it names says the role.
    private static func readIdentity(
        configurationPath: String,
        settings: [String]
    ) throws -> (AgentConfiguration, IdentityBundle) {
        let first = try readConfiguration(path: configurationPath, role: .worker, settings: settings)
        let bundle: IdentityBundle
        do { bundle = try IdentityBundle.load(first.identity.bundle) } catch {
            throw Failure("the node's certificate cannot be used: \(error)", exitCode: 78)
        }
        guard case .node(_, _, _, let role) = bundle.identity, role != .worker else { return (first, bundle) }
        return (try readConfiguration(path: configurationPath, role: role, settings: settings), bundle)
    }

    private static func bootstrap(
        _ configuration: AgentConfiguration,
        registry: MetricsRegistry,
        node: NodeID
    ) -> Logger {
        let level = Logger.Level(rawValue: configuration.log.level.rawValue) ?? .info
        let format: StructuredLogHandler.Format = configuration.log.format == .json ? .json : .text
        LoggingSystem.bootstrap { label in
            StructuredLogHandler(label: label, level: level, format: format) { WallClock.now().description }
        }
        MetricsSystem.bootstrap(registry)
        return Logger(label: "godwitd")
    }

    private static func prepareFolders(_ configuration: AgentConfiguration) throws {
        for (folder, mode) in [
            (configuration.folders.state, mode_t(0o700)), (configuration.folders.runtime, 0o700),
            (configuration.checkpoints.tmpfs, 0o700),
        ] {
            do { try FileSystem.createFolder(folder, mode: mode) } catch {
                throw Failure("\(error); godwitd runs as root, or give it folders that it may write (folders.*)")
            }
        }
        try PrivateFolder.require(
            configuration.checkpoints.tmpfs,
            setting: "checkpoints.tmpfs",
            because: "the memory of jobs lies in it during a checkpoint"
        )
    }
}
