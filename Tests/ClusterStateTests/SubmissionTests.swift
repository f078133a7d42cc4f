import ClusterModel
import ClusterState
import Testing

struct SubmissionTests {
    private func submission(_ number: Int, _ name: String, key: String? = nil, user: String = "ada") -> Submission {
        Submission(
            id: Bench.id(number),
            specification: Bench.specification(name),
            submitter: UserID(rawValue: user),
            time: Bench.at(Double(number)),
            idempotencyKey: key
        )
    }

    @Test func aSubmittedJobWaits() {
        var bench = Bench()
        let acceptance = bench.apply(.submit(submission(1, "a")))
        #expect(acceptance?.submitted == Bench.id(1))
        #expect(acceptance?.changed == [Bench.id(1)])
        #expect(acceptance?.decisions.map(\.sequence) == [1])
        #expect(bench.job.state == .queued)
        #expect(bench.job.task == .wait(until: nil))
        #expect(bench.job.incarnation == Incarnation(rawValue: 0))
    }

    @Test func aNameBelongsToOneLiveJob() {
        var bench = Bench()
        bench.apply(.submit(submission(1, "a")))
        #expect(bench.refusal(.submit(submission(2, "a")))?.message.contains("godwit job cancel a") == true)
        bench.apply(.requestCancel(job: Bench.id(1), grace: .zero, by: Bench.user, time: Bench.at(3)))
        bench.apply(.submit(submission(2, "a")))
        #expect(bench.state.liveJobCount == 1)
        #expect(bench.state.jobCount == 2)
    }

    @Test func aRepeatedSubmissionFindsItsJob() {
        var bench = Bench()
        bench.apply(.submit(submission(1, "a", key: "k")))
        let again = bench.apply(.submit(submission(2, "a", key: "k")))
        #expect(again?.submitted == Bench.id(1))
        #expect(again?.changed == [])
        #expect(bench.refusal(.submit(submission(3, "b", key: "k")))?.code == .conflict)
        bench.apply(.submit(submission(4, "b", key: "k", user: "bob")))
        #expect(bench.refusal(.submit(submission(5, "c", key: String(repeating: "x", count: 65))))?.code == .invalid)
    }

    @Test func theBoundOfLiveJobsHolds() {
        var bench = Bench()
        var limits = StateLimits()
        limits.liveJobs = 1
        bench.apply(.configure(limits))
        bench.apply(.submit(submission(1, "a")))
        #expect(bench.refusal(.submit(submission(2, "b")))?.code == .exhausted)
        limits.liveJobs = 0
        #expect(bench.refusal(.configure(limits))?.code == .invalid)
    }

    @Test func jobsAreFoundByNameIdentityAndBeginning() throws {
        var bench = Bench()
        bench.apply(.submit(submission(1, "alpha")))
        bench.apply(.submit(submission(2, "beta")))
        #expect(try bench.state.resolve("alpha").id == Bench.id(1))
        #expect(try bench.state.resolve("job2aaaaaaaa").id == Bench.id(2))
        #expect(try bench.state.resolve("job2").id == Bench.id(2))
        #expect(throws: Refusal.self) { try bench.state.resolve("job") }
        let missing = #expect(throws: Refusal.self) { try bench.state.resolve("alpah") }
        #expect(missing?.message.contains("Did you mean 'alpha'?") == true)
        // An ended job's name goes to the next one that takes it.
        bench.apply(.requestCancel(job: Bench.id(1), grace: .zero, by: Bench.user, time: Bench.at(3)))
        #expect(try bench.state.resolve("alpha").id == Bench.id(1))
        bench.apply(.submit(submission(3, "alpha")))
        #expect(try bench.state.resolve("alpha").id == Bench.id(3))
    }

    @Test func endedJobsAreForgottenAfterTheirTimeAndBeyondTheirNumber() {
        var bench = Bench()
        var limits = StateLimits()
        limits.endedRetention = .seconds(100)
        limits.endedJobs = 2
        bench.apply(.configure(limits))
        for number in 1...4 {
            bench.apply(.submit(submission(number, "j\(number)", key: "k\(number)")))
            bench.apply(
                .requestCancel(job: Bench.id(number), grace: .zero, by: Bench.user, time: Bench.at(Double(10 * number)))
            )
        }
        #expect(bench.apply(.prune(time: Bench.at(50)))?.pruned == [Bench.id(1), Bench.id(2)])
        #expect(bench.apply(.prune(time: Bench.at(135)))?.pruned == [Bench.id(3)])
        #expect(bench.apply(.prune(time: Bench.at(135)))?.pruned == [])
        // Its key is free again.
        #expect(bench.apply(.submit(submission(5, "j5", key: "k1")))?.submitted == Bench.id(5))
    }
}
