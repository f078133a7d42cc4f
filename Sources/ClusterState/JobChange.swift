import ClusterModel

/// One transition of one job: works on a copy of the record and gathers the decisions that come with it.
struct JobChange {
    var record: JobRecord
    let time: Timestamp
    /// As they are when the transition happens.
    let nodes: NodeTable
    private(set) var decisions: [Decision] = []

    init(record: JobRecord, time: Timestamp, nodes: NodeTable) {
        self.record = record
        self.time = time
        self.nodes = nodes
    }

    /// Adds a decision of this transition.
    mutating func decide(_ kind: Decision.Kind, _ sentence: String, _ numbers: [Decision.Number] = []) {
        decisions.append(Decision(time: time, job: record.id, kind: kind, sentence: sentence, numbers: numbers))
    }

    /// Adds a decision that a policy made, and takes over what it says about the deadline.
    mutating func note(_ decision: Decision) {
        var decision = decision
        decision.job = record.id
        if decision.kind == .deadlineMissed || decision.kind == .deadlineMet {
            // The deadline has one outcome; the first to see it tells it.
            guard record.metDeadline == nil else { return }
            record.metDeadline = decision.kind == .deadlineMet
        }
        decisions.append(decision)
    }

    /// Enters a state, with the reason.
    mutating func enter(_ state: JobState, _ message: String) {
        if record.state != state { record.stateSince = time }
        record.state = state
        if state != .queued, !state.mayHaveContainer { record.assignment = nil }
        switch state {
        case .running, .checkpointing, .migrating: break
        case .queued, .starting, .restoring, .suspended, .stopping, .completed, .failed, .cancelled:
            record.migration = nil
        }
        record.message = message
    }

    func require(_ incarnation: Incarnation) throws(Refusal) {
        guard record.incarnation == incarnation else {
            throw Refusal(
                .stale,
                "Job \(record.id) is at incarnation \(record.incarnation); what happened to incarnation \(incarnation) is past."
            )
        }
    }

    func refuse(_ what: String, _ remedy: String) -> Refusal {
        Refusal(.conflict, "Job '\(record.specification.name)' is \(record.state.rawValue): \(what). \(remedy)")
    }
}

// MARK: Submission and waiting

extension JobChange {
    mutating func submitted() {
        if let admission = record.admission {
            var numbers = [
                Decision.Number(name: "requiredVCPUs", value: admission.required.rawValue),
                Decision.Number(name: "availableVCPUs", value: admission.available.rawValue),
            ]
            if let end = admission.predictedEnd, let deadline = admission.deadline {
                numbers.append(.init(name: "slackSeconds", value: (deadline - end).inSeconds))
            }
            decide(.admitted, admission.reason, numbers)
            enter(.queued, admission.reason)
        } else {
            decide(.admitted, "Accepted from \(record.submitter).")
            enter(.queued, "Waits for its first start.")
        }
    }

    mutating func wait(because reason: String) throws(Refusal) {
        guard record.state == .queued else { throw refuse("only a queued job waits", "Nothing is to be done.") }
        guard record.message != reason else { return }
        enter(.queued, reason)
        decide(.queued, reason)
    }

    /// Puts the job back into the queue; its node keeps no claim on it.
    mutating func requeue(_ message: String, notBefore: Timestamp? = nil) {
        record.notBefore = notBefore
        record.incarnationStarted = nil
        record.openCheckpoint = nil
        record.assignment = nil
        enter(.queued, message)
    }
}

// MARK: Containers

extension JobChange {
    mutating func begin(on node: NodeID) throws(Refusal) {
        guard record.state == .queued else { throw refuse("only a queued job begins", "Nothing is to be done.") }
        if let notBefore = record.notBefore, time < notBefore {
            throw refuse("its next try is due in \((notBefore - time).text)", "Begin it then.")
        }
        try requireAssigned(to: node)
        record.node = node
        record.notBefore = nil
        nextIncarnation()
    }

    /// Gives the job its next container, from the resumption when there is one.
    mutating func nextIncarnation() {
        _ = record.takeIncarnation()
        record.failedMigrations = nil
        record.incarnationStarted = nil
        record.openCheckpoint = nil
        record.iterationBase = record.resumption == nil ? record.ledger.total : record.iterationBase
        if let resumption = record.resumption {
            enter(.restoring, "Is being restored from checkpoint \(resumption.generation).")
        } else if record.totalIterations > 1 {
            enter(.starting, "Iteration \(record.completedIterations + 1) of \(record.totalIterations) is starting.")
        } else {
            enter(.starting, "Its container is being made.")
        }
    }

    mutating func started(_ incarnation: Incarnation) throws(Refusal) {
        try require(incarnation)
        if record.state == .migrating { return migrationStarted() }
        guard record.state == .starting || record.state == .restoring else {
            throw Refusal(.stale, "Job \(record.id) is \(record.state.rawValue); its start is known or past.")
        }
        let waited = time - record.stateSince
        record.incarnationStarted = time
        record.firstStarted = record.firstStarted ?? time
        record.failedRestores = []
        record.failedCheckpoints = nil
        let numbers = [
            Decision.Number(name: "startSeconds", value: waited.inSeconds),
            Decision.Number(name: "incarnation", value: Double(incarnation.rawValue)),
        ]
        if let resumption = record.resumption {
            record.resumption = nil
            let cpu = record.ledger.total.text
            enter(.running, "Runs on from checkpoint \(resumption.generation).")
            decide(
                .restored,
                "Restored from checkpoint \(resumption.generation) in \(waited.text); it goes on with \(cpu) of CPU time done.",
                numbers + [.init(name: "generation", value: Double(resumption.generation.rawValue))]
            )
        } else if record.totalIterations > 1 {
            enter(.running, "Iteration \(record.completedIterations + 1) of \(record.totalIterations) runs.")
            if record.firstStarted == time {
                decide(.started, "Started after \((time - record.submitted).text).", numbers)
            }
        } else {
            enter(.running, "Runs.")
            decide(.started, "Started \((time - record.submitted).text) after its submission.", numbers)
        }
    }

    mutating func adopted(_ incarnation: Incarnation) throws(Refusal) {
        try require(incarnation)
        guard record.state.mayHaveContainer else { throw refuse("it has no container to adopt", "Stop the container.") }
        if record.state == .starting || record.state == .restoring || record.state == .migrating {
            try started(incarnation)
        }
        // Whatever the agent before wanted to hand over, it cannot any more: its container may run on now.
        if let migration = record.migration, migration.phase == .prepared {
            abandonMigration(because: "the agent of node \(migration.source) was restarted")
        }
        decide(.adopted, "The agent restarted and took over its running container.")
    }

    mutating func exited(
        _ incarnation: Incarnation,
        exit: ContainerExit,
        consumed: Duration?,
        vcpus: VCPUCount?
    ) throws(Refusal) {
        try require(incarnation)
        guard record.state.mayHaveContainer else {
            throw Refusal(.stale, "Job \(record.id) is \(record.state.rawValue); the end of its container is known.")
        }
        if let consumed { record.ledger.record(consumed) }
        if record.state == .checkpointing, record.openCheckpoint?.stops == true {
            // A dump that stops ends the container itself; whether the work is saved is known when the images are.
            record.openCheckpoint?.exit = exit
            return
        }
        ended(exit, vcpus: vcpus)
    }

    /// Decides what follows now that the container is gone; `cause` is told instead of what the exit says.
    mutating func ended(_ exit: ContainerExit, vcpus: VCPUCount? = nil, cause: String? = nil) {
        let ran = record.incarnationStarted.map { time - $0 }
        let base = record.iterationBase
        record.ledger.settle()
        record.lastExit = exit
        record.openCheckpoint = nil
        if case .checkpoint = record.request { record.request = nil }
        checkObjective()
        switch record.request {
        case .cancel(_, _, let user):
            finish(.cancelled, "Cancelled by \(user).")
        case .restore(let generation, _):
            record.request = nil
            resume(from: generation, origin: generation == nil ? .newest : .named)
        case .move(_, _, let user):
            record.request = nil
            moved(by: user, cause: cause)
        case .checkpoint, nil:
            if exit.isSuccess {
                succeeded(ran: ran ?? .zero, consumed: record.ledger.total - base, vcpus: vcpus)
            } else if ExitDiagnosis.isLoss(exit) {
                recover(exit, ran: ran, cause: cause)
            } else {
                retry(exit, ran: ran)
            }
        }
    }

    private mutating func succeeded(ran: Duration, consumed: Duration, vcpus: VCPUCount?) {
        let total = record.totalIterations
        record.quickLosses = 0
        guard record.specification.kind == .iterative else {
            // From the first start: a job that was restored did not begin when its last container did.
            let whole = record.firstStarted.map { time - $0 } ?? ran
            return finish(.completed, "Completed after \(whole.text) with \(record.ledger.total.text) of CPU time.")
        }
        record.completedIterations += 1
        let seconds = ran.inSeconds
        record.measuredIterations.append(
            IterationMeasurement(
                index: record.completedIterations,
                duration: ran,
                consumed: consumed,
                vcpus: vcpus ?? VCPUCount(seconds > 0 ? consumed.inSeconds / seconds : 0)
            )
        )
        record.measuredIterations.removeFirst(
            max(0, record.measuredIterations.count - ClusterState.measuredIterationLimit)
        )
        decide(
            .iterationCompleted,
            "Iteration \(record.completedIterations) of \(total) took \(ran.text) and \(consumed.text) of CPU time.",
            [
                .init(name: "iteration", value: Double(record.completedIterations)),
                .init(name: "iterationSeconds", value: seconds),
                .init(name: "cpuSeconds", value: consumed.inSeconds),
            ]
        )
        guard record.completedIterations < total else {
            return finish(.completed, "Completed all \(total) iterations with \(record.ledger.total.text) of CPU time.")
        }
        // A checkpoint holds a process of an iteration that is over; no restore may bring it back.
        retireAll()
        record.resumption = nil
        if nodes.isDraining(record.node), let node = record.node {
            // Between two iterations a job can change its node and loses nothing.
            let next = "Iteration \(record.completedIterations + 1) of \(total)"
            return requeue("\(next) waits for another node, because \(node) is being drained.")
        }
        nextIncarnation()
    }

    private mutating func retry(_ exit: ContainerExit, ran: Duration?) {
        let diagnosis = ExitDiagnosis(exit, of: record)
        let retries = record.specification.retries
        guard record.retriesUsed < retries.limit else {
            let tries = retries.limit > 0 ? " All \(retries.limit) retries are used." : ""
            return finish(.failed, diagnosis.sentence + tries)
        }
        record.retriesUsed += 1
        let delay = Backoff.delay(attempt: record.retriesUsed, first: retries.backoff, maximum: retries.maximumBackoff)
        fallBack(to: record.iterationBase)
        record.resumption = nil
        retireAll()
        let what = "\(diagnosis.sentence) Retry \(record.retriesUsed) of \(retries.limit) in \(delay.text)."
        decide(.retried, what, [.init(name: "delaySeconds", value: delay.inSeconds)])
        requeue(what, notBefore: time + delay)
    }

    private mutating func recover(_ exit: ContainerExit, ran: Duration?, cause: String?) {
        let diagnosis = cause ?? ExitDiagnosis(exit, of: record).sentence
        record.quickLosses = (ran ?? .zero) < ClusterState.quickLoss ? record.quickLosses + 1 : 0
        // A node that is fenced again and again is no fault of the job's: it waits longer and longer, but is not given up for that.
        if exit == .fenced { record.quickLosses = min(record.quickLosses, ClusterState.quickLossLimit) }
        let rule = record.specification.checkpoint.recovery
        guard rule != .fail else {
            return finish(.failed, "\(diagnosis) The job says `checkpoint.recovery: fail`.")
        }
        guard record.quickLosses <= ClusterState.quickLossLimit else {
            return finish(
                .failed,
                "\(diagnosis) That was loss \(record.quickLosses) in a row within \(ClusterState.quickLoss.text) of a "
                    + "start, so it is not started again."
            )
        }
        // The first loss costs no time; a container that is lost again and again waits longer and longer.
        let delay =
            record.quickLosses < 2
            ? Duration.zero
            : Backoff.delay(attempt: record.quickLosses - 1, first: .seconds(1), maximum: .seconds(300))
        let notBefore = delay > .zero ? time + delay : nil
        if rule == .restore, let entry = restorable(before: nil) {
            goOn(from: entry, because: diagnosis, notBefore: notBefore)
        } else {
            let why =
                rule != .restore
                ? "As the job says, it starts"
                : unreachable.map { "Checkpoint \($0.generation) is on \(Self.names($0.holders)), so it starts" }
                    ?? "There is no good checkpoint, so it starts"
            let lost = lostWork(since: record.iterationBase)
            fallBack(to: record.iterationBase)
            record.resumption = nil
            let what = "\(diagnosis) \(why) from the beginning.\(lost.text)"
            decide(.restarted, what, [lost.number])
            requeue(what, notBefore: notBefore)
        }
    }

    /// Puts the job back into the queue, to go on from a checkpoint.
    mutating func goOn(from entry: CatalogEntry, because why: String, notBefore: Timestamp? = nil) {
        let lost = lostWork(since: entry.consumed)
        fallBack(to: entry)
        record.resumption = Resumption(generation: entry.generation, origin: .recovery)
        let place = nodes.all.isEmpty ? "" : " on \(Self.names(nodes.liveHolders(of: entry)))"
        let what = "\(why) It goes on from checkpoint \(entry.generation)\(place).\(lost.text)"
        decide(
            .restarted,
            what,
            [.init(name: "generation", value: Double(entry.generation.rawValue)), lost.number]
        )
        requeue(what, notBefore: notBefore)
    }

    /// What is lost of the ledger when the job falls back, in words and as a number.
    func lostWork(since consumed: Duration) -> (text: String, number: Decision.Number) {
        let lost = max(.zero, record.ledger.total - consumed)
        // Of one machine alone the story has always been told without; what a second is worth needs no words either.
        return (
            nodes.all.isEmpty || lost < .seconds(1) ? "" : " \(lost.text) of CPU time are lost.",
            Decision.Number(name: "lostSeconds", value: lost.inSeconds)
        )
    }
}

// MARK: The end

extension JobChange {
    mutating func finish(_ state: JobState, _ message: String) {
        record.ended = time
        record.allocation = .zero
        record.pinnedAllocation = nil
        record.request = nil
        record.openCheckpoint = nil
        record.resumption = nil
        record.notBefore = nil
        record.incarnationStarted = nil
        record.address = nil
        retireAll()
        enter(state, message)
        let numbers = [
            Decision.Number(name: "cpuSeconds", value: record.ledger.total.inSeconds),
            Decision.Number(name: "elapsedSeconds", value: (time - record.submitted).inSeconds),
        ]
        let kind: Decision.Kind =
            switch state {
            case .completed: .completed
            case .cancelled: .cancelled
            default: .failed
            }
        decide(kind, message, numbers)
        if state == .completed { settleDeadline("The job was done") }
    }

    /// Notices that the CPU time of the objective is granted; a job may run on after it.
    mutating func checkObjective() {
        guard case .cpuTime(let amount, _) = record.specification.objective, record.metDeadline == nil,
            record.ledger.total >= amount
        else { return }
        settleDeadline("All \(amount.text) of CPU time were granted")
    }

    private mutating func settleDeadline(_ what: String) {
        guard let deadline = record.deadline, record.metDeadline == nil else { return }
        let slack = deadline - time
        let isMet = slack >= .zero
        record.metDeadline = isMet
        decide(
            isMet ? .deadlineMet : .deadlineMissed,
            isMet
                ? "\(what) \(slack.text) before the deadline." : "\(what) \((.zero - slack).text) after the deadline.",
            [.init(name: "slackSeconds", value: slack.inSeconds)]
        )
    }

    /// Lets the ledger fall back: work after `consumed` is lost.
    mutating func fallBack(to consumed: Duration) {
        record.lost += max(.zero, record.ledger.total - consumed)
        record.ledger.rollBack(to: consumed)
    }

    mutating func fallBack(to entry: CatalogEntry) { fallBack(to: entry.consumed) }

    mutating func retireAll() {
        for index in record.catalog.indices { retire(index) }
    }
}
