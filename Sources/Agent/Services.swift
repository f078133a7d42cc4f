import ClusterModel
import ClusterState
import LinuxSystem
import Logging
import ServiceLifecycle
import Storage
import Transport

/// Runs the node controller until the agent stops; containers go on.
struct ControllerService: Service {
    let controller: NodeController

    func run() async throws {
        await cancelWhenGracefulShutdown { await controller.run() }
    }
}

/// Does something again and again until the agent stops, with a pause after each time.
func repeatUntilShutdown(every period: Duration, _ body: @escaping @Sendable () async -> Void) async {
    await cancelWhenGracefulShutdown {
        while !Task.isCancelled {
            await body()
            try? await Task.sleep(for: period)
        }
    }
}

/// Hands the cluster over to another agent before this one stops, so that nobody has to wait for an election.
///
/// It stops before all others that need the network: who is to lead next answers through the server that is about to close.
struct LeadershipService: Service {
    let replica: Replica

    func run() async throws {
        try? await gracefulShutdown()
        await replica.handOver()
    }
}

/// Serves the control plane until the agent stops, then lets open calls finish.
struct ControlServerService: Service {
    let server: RPCServer
    let grace: Duration

    func run() async throws {
        try? await gracefulShutdown()
        await server.shutdown(grace: grace)
    }
}

/// Keeps history within its bounds, and writes the last snapshot when the agent stops.
struct MaintenanceService: Service {
    let replica: Replica
    let store: any StateStoring
    let host: any ContainerHost
    let logger: Logger
    let now: @Sendable () -> Timestamp

    func run() async throws {
        await cancelWhenGracefulShutdown {
            // By then everything has started.
            try? await Task.sleep(for: .seconds(2))
            ProcessMemory.releaseStartPages()
            while !Task.isCancelled {
                try? await Task.sleep(for: .seconds(60))
                if Task.isCancelled { return }
                await pass()
            }
        }
        await replica.saveSnapshot()
    }

    /// Forgets jobs whose time is over, with all that is left of them, and thins the history.
    func pass() async {
        do {
            let outcome = try await replica.propose(.prune(time: now()))
            for job in outcome.acceptance?.pruned ?? [] { await forget(job) }
            // Left by an agent that ended between the two steps, or by a deletion that failed. Listed before the state is read: a
            // job that comes meanwhile is known by then.
            let archived = try await host.archivedJobs()
            let state = await replica.state
            for job in archived where state.job(job) == nil { await forget(job) }
            try await store.maintain(now: now())
        } catch {
            logger.warning("maintenance.failed", metadata: ["error": "\(error)"])
        }
    }

    private func forget(_ job: JobID) async {
        do { try await host.forget(job) } catch {
            logger.warning("job.forget.failed", metadata: ["job": "\(job)", "error": "\(error)"])
        }
    }
}

/// Tells systemd that the agent is ready, alive and stopping.
struct NotifierService: Service {
    let notifier: ServiceNotifier?
    let status: String
    let logger: Logger

    func run() async throws {
        guard let notifier else {
            try? await gracefulShutdown()
            return
        }
        tell(notifier, .ready(status: status))
        await cancelWhenGracefulShutdown {
            guard let interval = notifier.watchdogInterval else {
                try? await gracefulShutdown()
                return
            }
            while !Task.isCancelled {
                tell(notifier, .watchdog)
                try? await Task.sleep(for: interval)
            }
        }
        tell(notifier, .stopping)
    }

    private func tell(_ notifier: ServiceNotifier, _ message: ServiceNotifier.Message) {
        do { try notifier.send(message) } catch {
            logger.warning("service.notify.failed", metadata: ["error": "\(error)"])
        }
    }
}
