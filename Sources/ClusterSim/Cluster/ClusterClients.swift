import ClusterModel
import ClusterState

/// What a client sees of a job.
struct JobGlance: Sendable, Equatable {
    let id: JobID
    let isFinal: Bool
    /// What the last resize wrote; 0: nothing.
    let value: Int

    init(_ record: JobRecord) {
        id = record.id
        isFinal = record.state.isFinal
        value = record.pinnedAllocation.map { Int(($0.rawValue * 100).rounded()) } ?? 0
    }
}

/// An agent's answer to a client.
enum ClientResponse {
    case outcome(Outcome)
    case view(JobGlance?)
    /// Nothing is known; ask another agent.
    case unavailable
}

/// A client: does one thing at a time, and asks another agent when one does not answer.
struct SimulatedClient {
    struct Pending {
        let key: String
        let operation: RegisterOperation.Kind
        /// Its place in the history of its submission.
        let place: Int
        var attempts = 0
    }

    var pending: Pending?
    /// The newest attempt; answers to others are too late.
    var attempt: UInt64 = 0
}

extension ClusterSimulation {
    static let user = UserID(rawValue: "ada")
    /// Longer histories say no more and are longer to check.
    private static let operationsOnOneJob = 56

    func clientStep(_ number: Int) {
        guard clients[number].pending == nil, now < faultsEnd else { return }
        let known = checkers.acknowledged.count
        if submitted.count < options.jobs, known == 0 || draw(0..<3) == 0 {
            submitted.append("job-\(submitted.count + 1)")
            return begin(.submit, on: submitted[submitted.count - 1], by: number)
        }
        guard !submitted.isEmpty else { return rest(number) }
        // The newest jobs are those that something happens to.
        let key = submitted[max(0, submitted.count - 1 - draw(0..<4))]
        guard checkers.histories[key, default: []].count < Self.operationsOnOneJob else {
            return rest(number)
        }
        lastValue += 1
        switch draw(0..<12) {
        case 0..<4 where checkers.acknowledged[key] != nil: begin(.write(lastValue), on: key, by: number)
        case 4 where checkers.acknowledged[key] != nil: begin(.cancel, on: key, by: number)
        default: begin(.read, on: key, by: number)
        }
    }

    private func rest(_ number: Int) {
        schedule(.client(number), after: Int64.random(in: 20_000_000...500_000_000, using: &generator))
    }

    private func begin(_ kind: RegisterOperation.Kind, on key: String, by number: Int) {
        let operation = RegisterOperation(kind: kind, start: now, end: nil, result: nil)
        checkers.histories[key, default: []].append(operation)
        let place = checkers.histories[key, default: []].count - 1
        clients[number].pending = SimulatedClient.Pending(key: key, operation: kind, place: place)
        attempt(number)
    }

    private func attempt(_ number: Int) {
        guard var pending = clients[number].pending else { return }
        pending.attempts += 1
        clients[number].pending = pending
        lastAttempt += 1
        clients[number].attempt = lastAttempt
        let agent = draw(0..<agents.count)
        schedule(.request(number, attempt: lastAttempt, agent: agent), after: clientDelay())
        schedule(
            .timeout(number, attempt: lastAttempt),
            after: Int64.random(in: 400_000_000...2_500_000_000, using: &generator)
        )
    }

    private func clientDelay() -> Int64 { Int64.random(in: profile.delay, using: &generator) }

    /// A client's request reaches an agent.
    func serve(client number: Int, attempt: UInt64, at agent: SimulatedAgent) {
        guard let pending = clients[number].pending, clients[number].attempt == attempt else { return }
        let time = agent.clock.wall(at: now)
        let job = checkers.acknowledged[pending.key]
        let command: Command
        switch (pending.operation, job) {
        case (.read, _): return agent.requestRead(for: .reader(number, attempt: attempt, key: pending.key))
        case (.submit, _):
            let isMarked = pending.attempts == 1 || !options.bugs.contains(.dropsIdempotencyKey)
            command = .submit(submission(of: pending.key, time: time, isMarked: isMarked))
        case (.write(let value), let job?):
            let pin = Resize.Allocation.pin(VCPUCount(Double(value) / 100))
            command = .requestResize(Resize(job: job, allocation: pin, by: Self.user, time: time))
        case (.cancel, let job?):
            command = .requestCancel(job: job, grace: .zero, by: Self.user, time: time)
        case (.write, nil), (.cancel, nil): return
        }
        agent.propose(values.proposal(of: command, padding: draw(0..<200)), for: .client(number, attempt: attempt))
    }

    /// Each attempt draws an identity anew, as each agent would.
    private func submission(of key: String, time: Timestamp, isMarked: Bool) -> Submission {
        var specification = JobSpecification(name: key, kind: .batch, image: .rootFolder(path: "/r"))
        specification.command = ["work"]
        specification.retries.limit = 2
        return Submission(
            id: .random(using: &generator),
            specification: specification,
            submitter: Self.user,
            time: time,
            idempotencyKey: isMarked ? key : nil
        )
    }

    /// Sends an agent's answer; it may be lost.
    func respond(_ response: ClientResponse, to client: Int, attempt: UInt64, from agent: Int) {
        if isLost() { return }
        schedule(.response(client, attempt: attempt, response), after: clientDelay())
    }

    func take(_ response: ClientResponse, client number: Int, attempt: UInt64) {
        guard let pending = clients[number].pending, clients[number].attempt == attempt else { return }
        switch response {
        case .unavailable: retry(number, pending)
        case .view(let glance):
            let result = glance.map { $0.isFinal ? RegisterOperation.Result.ended : .value($0.value) }
            finish(number, pending, result ?? .absent)
        case .outcome(.accepted(let acceptance)):
            statistics.acknowledged += 1
            if case .submit = pending.operation {
                guard let job = acceptance.submitted else {
                    return checkers.report("submission \(pending.key): accepted without a job")
                }
                checkers.noteAcknowledged(key: pending.key, job: job)
            }
            if case .cancel = pending.operation { checkers.noteCancelled(key: pending.key) }
            finish(number, pending, .done)
        case .outcome(.refused(let refusal)):
            if case .submit = pending.operation {
                checkers.report("submission \(pending.key): refused: \(refusal)")
            }
            finish(number, pending, refusal.code == .notFound ? .absent : .ended)
        }
    }

    func timedOut(client number: Int, attempt: UInt64) {
        guard let pending = clients[number].pending, clients[number].attempt == attempt else { return }
        retry(number, pending)
    }

    /// Submissions and reads may be repeated; what a resize or a cancellation did without an answer stays unknown.
    private func retry(_ number: Int, _ pending: SimulatedClient.Pending) {
        switch pending.operation {
        case .submit, .read:
            // Not at once, or clients of a cluster without a leader would fill the run.
            clients[number].attempt = 0
            schedule(.again(number), after: Int64.random(in: 50_000_000...300_000_000, using: &generator))
        case .write, .cancel:
            clients[number].pending = nil
            rest(number)
        }
    }

    func again(_ number: Int) {
        if clients[number].pending != nil, clients[number].attempt == 0 { attempt(number) }
    }

    private func finish(_ number: Int, _ pending: SimulatedClient.Pending, _ result: RegisterOperation.Result) {
        checkers.histories[pending.key]?[pending.place].end = now
        checkers.histories[pending.key]?[pending.place].result = result
        clients[number].pending = nil
        mix(UInt64(pending.place) &+ 77)
        if pending.operation == .read { statistics.reads += 1 }
        rest(number)
    }
}
