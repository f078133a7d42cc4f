import ClusterModel
import QoS
import Testing

@testable import ClusterSim

struct IterativeTraceTests {
    private let header = "app,iterations,iteration_s_at_1_vcpu,iteration_s_at_2_vcpus,declared_iteration_s,deadline_s"

    @Test("The built-in applications are the published ones")
    func linpack() throws {
        let text = """
            app,iterations,iteration_s_at_1_vcpu,iteration_s_at_2_vcpus,declared_iteration_s,deadline_s,paper_end_minus_deadline_s
            app1,4,480.4,362.2,400,1780,-328
            app2,4,480.4,362.2,400,1780,-340
            app3,13,162.75,113.2,130,2275,36
            app4,11,162.75,113.2,130,1925,-105
            app5,12,162.75,113.2,130,2100,133
            app6,14,92.36,66.32,80,1750,-290
            """
        #expect(try IterativeTrace(text: text) == .linpack)
        for application in IterativeTrace.linpack.applications {
            #expect(application.deadline == Double(application.iterations) * (application.declared + 45))
        }
        #expect(IterativeTrace.linpack.applications.count { ($0.published ?? 0) <= 0 } == 4)
    }

    @Test("Six of six deadlines are met with the 45 s of overhead kept")
    func sixOfSix() {
        let (results, _) = IterativeTraceRun(trace: .linpack, policy: .deadline).run()
        #expect(results.count == 6)
        for result in results { #expect(result.isMet, "\(result)") }
        for (result, application) in zip(results, IterativeTrace.linpack.applications) {
            #expect(result.nodes.count == application.iterations)
        }
    }

    @Test("The published policy meets four of six, as published")
    func fourOfSix() {
        for isCapped in [false, true] {
            var run = IterativeTraceRun(trace: .linpack, policy: .paper)
            run.isCapped = isCapped
            #expect(run.run().results.count { $0.isMet } == 4)
        }
    }

    @Test("Alone on its node every application runs at its two-vCPU pace")
    func alone() {
        var run = IterativeTraceRun(trace: .linpack, policy: .deadline)
        run.nodes = 6
        for (result, application) in zip(run.run().results, IterativeTrace.linpack.applications) {
            #expect(abs(result.meanIteration - application.secondsAtTwo) < 0.5)
        }
    }

    @Test(
        "What is wrong with a trace is told with its line",
        arguments: [
            ("", 1, "empty"), ("app,iterations", 1, "iteration_s_at_1_vcpu is missing"),
            ("a,4,480,362,400", 2, "5 fields"), ("a,four,480,362,400,1780", 2, "iterations is \"four\""),
            ("a,4,480,100,400,1780", 2, "twice as fast"), ("a,4,480,500,400,1780", 2, "slower"),
            ("a,4,480,nan,400,1780", 2, "iteration_s_at_2_vcpus"),
        ]
    )
    func problems(row: String, line: Int, message: String) {
        let text = line == 1 ? row : "\(header)\n\(row)\n"
        let problem = #expect(throws: IterativeTrace.Problem.self) { try IterativeTrace(text: text) }
        #expect(problem?.line == line)
        #expect(problem?.message.contains(message) == true, "\(problem?.message ?? "")")
    }
}
