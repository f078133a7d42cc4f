import ClusterModel
import Testing

@testable import QoS

/// One test per sentence of the published policy, and of the prototype's code.
///
/// López-Huguet et al., J. Parallel Distrib. Comput. 133 (2019), section 2.
struct PaperPolicyTests {
    private let start = Timestamp(seconds: 1_000_000)
    private let configuration = QoSConfiguration()

    @Test("Equation 2.5: desired CPU time is a straight line from the start")
    func desiredIsAStraightLine() {
        let desired = { seconds in
            PaperPolicy.desired(
                now: start + .seconds(seconds),
                start: start,
                amount: .seconds(400),
                frame: .seconds(480)
            ).inSeconds
        }
        #expect(desired(0.0) == 0)
        #expect(desired(120.0) == 100)
        #expect(desired(240.0) == 200)
        #expect(desired(480.0) == 400)
    }

    @Test("Equation 2.5: after the frame all CPU time is desired")
    func desiredEndsWithTheFrame() {
        let desired = PaperPolicy.desired(
            now: start + .seconds(900),
            start: start,
            amount: .seconds(400),
            frame: .seconds(480)
        )
        #expect(desired == .seconds(400))
    }

    @Test("Equation 2.4: performance is consumed over desired CPU time")
    func performanceIsConsumedOverDesired() {
        #expect(PaperPolicy.performance(consumed: .seconds(69), desired: .seconds(100)) == 0.69)
        #expect(PaperPolicy.performance(consumed: .zero, desired: .zero) == 1)
    }

    @Test("Equation 2.1: a job is over above 1 + maxOverprogress, under below 0.9, else on time")
    func thresholds() {
        func condition(_ performance: Double) -> JobCondition {
            PaperPolicy.condition(performance: performance, maxOverprogress: 0.1, under: configuration.paperUnder)
        }
        #expect(condition(1.11) == .overprogress)
        #expect(condition(1.1) == .ontime)
        #expect(condition(0.93) == .ontime)
        #expect(condition(0.9) == .ontime)
        #expect(condition(0.89) == .underprogress)
    }

    @Test("Algorithm 1: overprogress takes 0.4 vCPUs away, underprogress adds 0.4, on time changes nothing")
    func steps() {
        func share(_ share: Double, _ condition: JobCondition) -> Double {
            PaperPolicy.share(after: share, condition: condition, configuration: configuration)
        }
        #expect(share(1, .overprogress) == 0.6)
        #expect(share(1, .underprogress) == 1.4)
        #expect(share(1, .ontime) == 1)
    }

    @Test("The prototype keeps shares between 0.1 and 2.0")
    func clamp() {
        func share(_ share: Double, _ condition: JobCondition) -> Double {
            PaperPolicy.share(after: share, condition: condition, configuration: configuration)
        }
        #expect(share(0.3, .overprogress) == 0.1)
        #expect(share(0.1, .overprogress) == 0.1)
        #expect(share(1.8, .underprogress) == 2)
        #expect(share(2, .underprogress) == 2)
    }

    @Test("Equation 2.3: each remaining iteration takes the declared time and a start overhead")
    func predictedEnd() {
        let end = PaperPolicy.predictedEnd(
            now: start,
            remainingIterations: 3,
            expected: .seconds(130),
            startOverhead: .seconds(45)
        )
        #expect(end == start + .seconds(525))
    }

    @Test("The window of an iterative job reaches from registered + desv * W to deadline - 0.05 * W")
    func window() {
        let window = PaperPolicy.window(
            registered: start,
            frame: .seconds(1000),
            maxOverprogress: 0.2,
            configuration: configuration
        )
        #expect(window == (start + .seconds(200))...(start + .seconds(950)))
        #expect(PaperPolicy.condition(predictedEnd: start + .seconds(199), window: window) == .overprogress)
        #expect(PaperPolicy.condition(predictedEnd: start + .seconds(200), window: window) == .ontime)
        #expect(PaperPolicy.condition(predictedEnd: start + .seconds(951), window: window) == .underprogress)
    }

    @Test("Fault 1: the printed quotient of two timestamps is 1.000 for any real date, however late the job is")
    func equation22CannotTrip() {
        let deadline = Timestamp(seconds: 1_546_300_800)
        let hoursLate = deadline + .seconds(4 * 3600)
        let quotient = hoursLate.seconds / deadline.seconds
        #expect(quotient.text(decimals: 3) == "1.000")
        #expect(PaperPolicy.condition(performance: quotient, maxOverprogress: 0.1, under: 0.9) == .ontime)
    }

    @Test("Figures 2.7 to 2.9: 400 CPU s in 480 s; over, under at 69 %, on time at 93 %, done 87 s early")
    func workedTrace() throws {
        // The figures print the ratios, not the moments; the moments are the first that the period allows.
        var configuration = QoSConfiguration()
        configuration.paperInterval = .seconds(60)
        var controller = QoSController(configuration: configuration)
        var job = JobView(
            id: JobID(rawValue: "app"),
            objective: .cpuTime(amount: .seconds(400), frame: .seconds(480)),
            submitted: start
        )
        job.policy = .paper
        job.maxOverprogress = 0.1
        job.parallelism = 2
        job.started = start
        job.isRunning = true
        var story: [String] = []
        for (seconds, consumed) in [(0.0, 0.0), (60, 60), (120, 69), (180, 139.5), (240, 200)] {
            job.consumed = .seconds(consumed)
            let one = try #require(
                controller.decide(jobs: [job], capacity: 2, now: start + .seconds(seconds)).first
            )
            story.append("\(one.condition?.rawValue ?? "") \(one.allocation)")
            job.allocation = one.allocation
        }
        #expect(story == ["ontime 1.00", "overprogress 0.60", "underprogress 1.00", "ontime 1.00", "ontime 1.00"])
        // 260.5 CPU s remain after 180 s; the published run ended after 393 s.
        #expect((start + .seconds(480)) - (start + .seconds(393)) == .seconds(87))
    }

    @Test("A cputime job is evaluated every 120 s, whatever happens between")
    func evaluationInterval() throws {
        var controller = QoSController()
        var job = JobView(
            id: JobID(rawValue: "app"),
            objective: .cpuTime(amount: .seconds(1000), frame: .seconds(1000)),
            submitted: start
        )
        job.policy = .paper
        job.isRunning = true
        job.started = start
        var changes: [Int] = []
        for second in 0...600 {
            let one = try #require(
                controller.decide(jobs: [job], capacity: 2, now: start + .seconds(second)).first
            )
            if one.allocation != (job.allocation ?? 1) { changes.append(second) }
            job.allocation = one.allocation
        }
        #expect(changes == [120, 240, 360])
        #expect(job.allocation == 2)
    }

    @Test("An iterative job is evaluated once after each iteration, and not after its last")
    func evaluationAfterIterations() throws {
        var controller = QoSController()
        var job = JobView(
            id: JobID(rawValue: "app"),
            objective: .iterations(
                count: 4,
                expected: .seconds(400),
                startOverhead: .seconds(45),
                deadline: .seconds(1780)
            ),
            submitted: start
        )
        job.policy = .paper
        job.isRunning = true
        job.started = start
        var shares: [String] = []
        for (seconds, completed) in [(0, 0), (300, 0), (525, 1), (526, 1), (983, 2), (1403, 3), (1800, 4)] {
            job.completedIterations = completed
            let one = try #require(
                controller.decide(jobs: [job], capacity: 2, now: start + .seconds(seconds)).first
            )
            shares.append(one.allocation.description)
            job.allocation = one.allocation
        }
        #expect(shares == ["1.00", "1.00", "1.40", "1.40", "1.80", "2.00", "2.00"])
    }
}
