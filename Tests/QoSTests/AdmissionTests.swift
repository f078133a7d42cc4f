import ClusterModel
import Testing

@testable import QoS

struct AdmissionTests {
    private let now = Timestamp(seconds: 1_000_000)
    private let controller = QoSController()

    private func job(_ name: String, amount: Double, within frame: Double, cpus: Double = 2) -> JobView {
        var view = JobView(
            id: JobID(rawValue: name),
            objective: .cpuTime(amount: .seconds(amount), frame: .seconds(frame)),
            submitted: now
        )
        view.parallelism = VCPUCount(cpus)
        view.isRunning = true
        return view
    }

    @Test("A job that fits is feasible, with the room for more work than declared")
    func feasible() {
        let admission = controller.admit(job("a", amount: 100, within: 102), among: [], capacity: 2, now: now)
        #expect(admission.verdict == .feasible)
        #expect(admission.required == 1)
        #expect(abs(admission.available.rawValue - 2) < 1e-6)
        #expect(
            admission.reason
                == "The deadline can be kept: 100 CPU s in 1 min 42 s need 1.00 vCPUs on average, and the deadlines already promised leave"
                + " 2.00; it holds even if the work is 50 % more than declared."
        )
        #expect(admission.predictedEnd == now + .seconds(50))
    }

    @Test("A job that fits only as declared says so")
    func tight() {
        let admission = controller.admit(job("a", amount: 180, within: 102), among: [], capacity: 2, now: now)
        #expect(admission.verdict == .feasible)
        #expect(admission.reason.hasSuffix("there is no room for 50 % more work than declared."))
    }

    @Test("A job that cannot make it even alone is told its earliest end")
    func impossible() {
        let admission = controller.admit(job("a", amount: 300, within: 100, cpus: 1), among: [], capacity: 2, now: now)
        #expect(admission.verdict == .infeasible)
        #expect(
            admission.reason.hasPrefix(
                "The deadline cannot be kept even on an empty node: 300 CPU s in 1 min 40 s need"
            )
        )
        #expect(admission.reason.contains("earliest end is 1970-01-12T13:51:42.000Z (5 min 2 s from now)"))
        #expect(admission.predictedEnd == now + .seconds(302))
    }

    @Test("A job that would break another's deadline is infeasible, and its earliest end keeps all promises")
    func breaksAnother() throws {
        let promised = [job("first", amount: 190, within: 102)]
        let candidate = job("second", amount: 50, within: 102)
        let admission = controller.admit(candidate, among: promised, capacity: 2, now: now)
        #expect(admission.verdict == .infeasible)
        #expect(admission.available.rawValue < 0.11)
        // 190 + 50 CPU s on two vCPUs.
        let end = try #require(admission.predictedEnd)
        #expect(abs((end - now).inSeconds - 122) < 0.1)
        var later = candidate
        later.objective = .cpuTime(amount: .seconds(50), frame: (end - now) + .milliseconds(10))
        #expect(controller.admit(later, among: promised, capacity: 2, now: now).verdict == .feasible)
    }

    @Test("Deadlines that are lost already do not count against a newcomer")
    func lostOnesDoNotCount() {
        let lost = [job("lost", amount: 10_000, within: 100)]
        let admission = controller.admit(job("new", amount: 100, within: 102), among: lost, capacity: 2, now: now)
        #expect(admission.verdict == .feasible)
    }

    @Test("A job without deadline gets what the deadlines leave")
    func bestEffort() {
        let view = JobView(id: JobID(rawValue: "a"), submitted: now)
        let admission = controller.admit(
            view,
            among: [job("first", amount: 100, within: 102)],
            capacity: 2,
            now: now
        )
        #expect(admission.verdict == .bestEffort)
        #expect(abs(admission.available.rawValue - 1) < 1e-6)
        #expect(admission.deadline == nil)
    }

    @Test("A deadline that has passed is infeasible")
    func passed() {
        let admission = controller.admit(
            job("a", amount: 1, within: 10),
            among: [],
            capacity: 2,
            now: now + .seconds(11)
        )
        #expect(admission.verdict == .infeasible)
        #expect(admission.reason.hasSuffix("has already passed."))
    }

    @Test("Starts count: an iterative job that its overheads make late is infeasible")
    func iterative() {
        var view = JobView(
            id: JobID(rawValue: "a"),
            objective: .iterations(
                count: 10,
                expected: .seconds(10),
                startOverhead: .seconds(45),
                deadline: .seconds(400)
            ),
            submitted: now
        )
        view.parallelism = 2
        #expect(controller.admit(view, among: [], capacity: 2, now: now).verdict == .infeasible)
        view.objective = .iterations(
            count: 10,
            expected: .seconds(10),
            startOverhead: .seconds(45),
            deadline: .seconds(600)
        )
        #expect(controller.admit(view, among: [], capacity: 2, now: now).verdict == .feasible)
    }

    @Test("What is admitted one after the other fits together", arguments: 0..<100)
    func admittedJobsFit(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        var admitted: [JobView] = []
        for number in 0..<8 {
            let frame = 50 + 400 * generator.unit()
            let candidate = job(
                "job-\(number)",
                amount: 10 + frame * generator.unit(),
                within: frame,
                cpus: generator.unit() < 0.5 ? 1 : 2
            )
            let admission = controller.admit(candidate, among: admitted, capacity: 2, now: now)
            if admission.verdict == .feasible { admitted.append(candidate) }
            #expect((admission.verdict == .feasible) == (admission.required <= admission.available + 1e-6))
        }
        let demands = admitted.compactMap {
            RemainingWork($0, width: $0.parallelism.rawValue, now: now, configuration: controller.configuration)?
                .demand(0.5)
        }.sorted { $0.deadline < $1.deadline }
        #expect(FluidSchedule.latest(demands, capacity: 2).isFeasible)
    }
}
