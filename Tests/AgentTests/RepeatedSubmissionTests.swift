import ControlAPI
import ControlMessages
import Testing
import Transport

@testable import Agent

/// What becomes of a submission whose answer was lost on the way.
@Suite struct RepeatedSubmissionTests {
    @Test(.timeLimit(.minutes(5)))
    func aRepetitionIsNotJudgedAgainstTheJobThatItMadeItself() async throws {
        try await ControlBench.with { control in
            // Nearly all that the node has until then: two of them do not fit.
            let text = ControlBench.job("solver", "resources: {cpus: 2}\nobjective: {cpuTime: 110s, frame: 60s}\n")
            let first = try await control.ask { try await $0.jobSubmit(.document(text, key: "k")) }
            let second = try await control.ask { try await $0.jobSubmit(.document(text, key: "k")) }
            #expect(first.id == second.id)
            let other = await control.failure { _ = try await $0.jobSubmit(.document(text, key: "another")) }
            #expect(other?.code == .conflict)
        }
    }
}
