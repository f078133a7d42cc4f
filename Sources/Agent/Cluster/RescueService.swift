import ClusterModel
import ClusterState
import Logging
import Placement
import ServiceLifecycle

/// Saves deadlines that a node cannot keep, when this member leads: see `RescuePlan`. On other members it only looks.
actor RescueService: Service {
    private let replica: Replica
    private let suspects: @Sendable () async -> Set<NodeID>
    private let logger: Logger
    private let now: @Sendable () -> Timestamp
    private var plan: RescuePlan

    /// Between two looks: what is done here takes seconds, and is not worth a look at every change.
    private let period: Duration = .seconds(1)

    init(
        replica: Replica,
        plan: RescuePlan = RescuePlan(),
        suspects: @escaping @Sendable () async -> Set<NodeID> = { [] },
        logger: Logger,
        now: @escaping @Sendable () -> Timestamp
    ) {
        (self.replica, self.plan, self.suspects) = (replica, plan, suspects)
        (self.logger, self.now) = (logger, now)
    }

    nonisolated func run() async throws {
        await repeatUntilShutdown(every: period) { await self.look() }
    }

    /// One look at everything.
    func look() async {
        guard await replica.leadingTerm != nil else { return }
        let state = await replica.state
        guard state.knowsMigrations else { return }
        let steps = plan.steps(state, suspects: await suspects(), now: now())
        // Whether this one still leads is asked only when there is something to say: that costs a round of messages.
        guard !steps.isEmpty, await replica.isUpToDate() else { return }
        let commands = RescuePlan.commands(steps, now: now())
        do {
            for (command, outcome) in zip(commands, try await replica.propose(commands)) {
                if let refusal = outcome.refusal {
                    logger.info("deadline.rescue.refused", metadata: ["reason": "\(refusal)"])
                    continue
                }
                switch command {
                case .beginMigration(let order):
                    logger.notice("deadline.rescue.moved", metadata: ["job": "\(order.job)", "to": "\(order.to)"])
                case .preempt(let job, let other, _, _):
                    logger.notice("deadline.rescue.preempted", metadata: ["job": "\(job)", "for": "\(other)"])
                default: break
                }
            }
        } catch {
            logger.warning("deadline.rescue.failed", metadata: ["error": "\(error)"])
        }
    }
}
