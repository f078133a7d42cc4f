import ClusterModel
import QoS

/// Iterative applications with measured iteration times and deadlines, all submitted at once.
package struct IterativeTrace: Sendable, Equatable {
    /// One application of the trace.
    package struct Application: Sendable, Equatable {
        /// Tells applications apart: results are found by it.
        package var name: String
        /// How many it runs, one after the other; 1 to a million.
        package var iterations: Int
        /// Measured seconds of one iteration on one vCPU, without the start overhead.
        package var secondsAtOne: Double
        /// The same on two vCPUs: at most `secondsAtOne`, at least half of it.
        package var secondsAtTwo: Double
        /// What the user said that one iteration takes.
        package var declared: Double
        /// Seconds after submission.
        package var deadline: Double
        /// End minus deadline as published; nil where nothing was published.
        package var published: Double?

        /// `t(c) = fixed + divisible / c` through the two measurements.
        package var divisible: Double { 2 * (secondsAtOne - secondsAtTwo) }
        /// See `divisible`.
        package var fixed: Double { secondsAtOne - divisible }
    }

    package var applications: [Application]

    /// What is wrong with a trace, and where.
    package struct Problem: Error, Equatable, CustomStringConvertible {
        /// From 1.
        package var line: Int
        /// One line without a full stop.
        package var message: String
        package var description: String { "line \(line): \(message)" }
    }

    static let columns = [
        "app", "iterations", "iteration_s_at_1_vcpu", "iteration_s_at_2_vcpus", "declared_iteration_s", "deadline_s",
    ]

    /// Reads a comma-separated trace: a header with the columns of `godwit-sim trace --help`, then one application a line.
    ///
    /// Columns may stand in any order and others are ignored, except `paper_end_minus_deadline_s`, which is kept for comparison.
    package init(text: String) throws(Problem) {
        let lines = text.split(omittingEmptySubsequences: false) { $0.isNewline }.map { line in
            line.split(separator: ",", omittingEmptySubsequences: false).map(Self.trimmed)
        }
        guard let header = lines.first, header != [""] else {
            throw Problem(line: 1, message: "the trace is empty; its first line names the columns")
        }
        for column in Self.columns where !header.contains(column) {
            throw Problem(
                line: 1,
                message: "the column \(column) is missing; a trace has \(Self.columns.joined(separator: ", "))"
            )
        }
        applications = []
        for (index, fields) in lines.enumerated().dropFirst() where fields != [""] {
            applications.append(try Self.application(fields, header: header, line: index + 1))
        }
        guard !applications.isEmpty else { throw Problem(line: 2, message: "the trace has no applications") }
    }

    private static func trimmed(_ field: Substring) -> String {
        var field = field
        while let first = field.first, first == " " || first == "\t" { field.removeFirst() }
        while let last = field.last, last == " " || last == "\t" { field.removeLast() }
        return String(field)
    }

    private static func application(
        _ fields: [String],
        header: [String],
        line: Int
    ) throws(Problem) -> Application {
        guard fields.count == header.count else {
            throw Problem(line: line, message: "has \(fields.count) fields, the header has \(header.count)")
        }
        func text(_ column: String) -> String? { header.firstIndex(of: column).map { fields[$0] } }
        func number(_ column: String, atLeast least: Double) throws(Problem) -> Double {
            let field = text(column) ?? ""
            guard let value = Double(field), value.isFinite, value >= least else {
                throw Problem(
                    line: line,
                    message: "\(column) is \"\(field)\"; write a number of at least \(least.text(decimals: 3))"
                )
            }
            return value
        }
        let application = Application(
            name: text("app") ?? "",
            iterations: Int(min(1e6, try number("iterations", atLeast: 1))),
            secondsAtOne: try number("iteration_s_at_1_vcpu", atLeast: 0.001),
            secondsAtTwo: try number("iteration_s_at_2_vcpus", atLeast: 0.001),
            declared: try number("declared_iteration_s", atLeast: 0.001),
            deadline: try number("deadline_s", atLeast: 1),
            published: text("paper_end_minus_deadline_s").flatMap { Double($0) }
        )
        guard application.divisible >= 0, application.fixed >= 0 else {
            throw Problem(
                line: line,
                message: "an iteration cannot get slower with a second vCPU, nor more than twice as fast;"
                    + " check iteration_s_at_1_vcpu and iteration_s_at_2_vcpus"
            )
        }
        return application
    }

    /// The six published LINPACK applications: five nodes of two vCPUs, 45 s of overhead for each start.
    ///
    /// From López-Huguet et al., J. Parallel Distrib. Comput. 133 (2019). The papers do not print the deadlines; these are `iterations * (declared + 45 s)`, between the ends predicted for one and for two vCPUs.
    package static let linpack = IterativeTrace(applications: [
        .init(
            name: "app1",
            iterations: 4,
            secondsAtOne: 480.4,
            secondsAtTwo: 362.2,
            declared: 400,
            deadline: 1780,
            published: -328
        ),
        .init(
            name: "app2",
            iterations: 4,
            secondsAtOne: 480.4,
            secondsAtTwo: 362.2,
            declared: 400,
            deadline: 1780,
            published: -340
        ),
        .init(
            name: "app3",
            iterations: 13,
            secondsAtOne: 162.75,
            secondsAtTwo: 113.2,
            declared: 130,
            deadline: 2275,
            published: 36
        ),
        .init(
            name: "app4",
            iterations: 11,
            secondsAtOne: 162.75,
            secondsAtTwo: 113.2,
            declared: 130,
            deadline: 1925,
            published: -105
        ),
        .init(
            name: "app5",
            iterations: 12,
            secondsAtOne: 162.75,
            secondsAtTwo: 113.2,
            declared: 130,
            deadline: 2100,
            published: 133
        ),
        .init(
            name: "app6",
            iterations: 14,
            secondsAtOne: 92.36,
            secondsAtTwo: 66.32,
            declared: 80,
            deadline: 1750,
            published: -290
        ),
    ])

    private init(applications: [Application]) { self.applications = applications }
}
