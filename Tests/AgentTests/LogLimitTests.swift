import ControlAPI
import ControlMessages
import SwiftProtobuf
import Testing
import Transport

@testable import Agent

/// What reading logs may cost the agent.
@Suite struct LogLimitTests {
    @Test(.timeLimit(.minutes(5)))
    func moreNewestLinesThanFitInMemoryAreRefused() async throws {
        try await ControlBench.with { control in
            try await control.running()
            let failure = await control.failure { client in
                let stream = client.jobLogs(
                    .with {
                        $0.job = .named("solver")
                        $0.tailLines = 10_001
                    }
                )
                for try await _ in stream {}
            }
            #expect(failure?.code == .invalid)
            #expect(failure?.message.contains("--tail") == true)
            #expect(control.logs.queries.isEmpty)
        }
    }
}
