package import ClusterModel
package import ControlMessages
import SwiftProtobuf

/// Why a call did not succeed.
///
/// What a handler throws reaches the caller as it is.
package struct RPCFailure: Error, Sendable, Equatable, CustomStringConvertible {
    /// What a program can tell apart; the same cases as `Failure.Code` in `control.proto`.
    package enum Code: Int, Sendable, CaseIterable {
        /// The request itself is wrong.
        case invalid = 1
        case notFound = 2
        /// Not possible in the present state.
        case conflict = 3
        /// The certificate does not carry the right.
        case forbidden = 4
        /// Try again, perhaps elsewhere.
        case unavailable = 5
        case deadlineExceeded = 6
        case cancelled = 7
        /// A bound was reached.
        case exhausted = 8
        /// The callee does not know the method, or no common protocol version exists.
        case unimplemented = 9
        case `internal` = 10
    }

    package var code: Code
    /// One line for people: what failed, why, what to do next.
    package var message: String
    /// Every problem of a document, when the code is `invalid`.
    package var problems: [DocumentProblem]
    /// The call was not begun: asking again, or another agent, does no harm.
    ///
    /// False says nothing: the call may have been carried out.
    package var wasNotBegun: Bool

    package init(_ code: Code, _ message: String, problems: [DocumentProblem] = [], wasNotBegun: Bool = false) {
        (self.code, self.message, self.problems, self.wasNotBegun) = (code, message, problems, wasNotBegun)
    }

    package var description: String { ([message] + problems.map(\.description)).joined(separator: "\n") }

    /// Reads a failure from its message.
    ///
    /// A code that this version does not know counts as `internal`.
    package init(_ wire: WireFailure) {
        code = Code(rawValue: wire.code.rawValue) ?? .internal
        message = wire.message
        wasNotBegun = wire.notBegun
        problems = wire.problems.map { problem in
            DocumentProblem(
                place: DocumentPlace(line: Int(problem.line), column: Int(problem.column)),
                path: problem.path,
                message: problem.message
            )
        }
    }

    /// The failure as a message.
    package var wire: WireFailure {
        WireFailure.with { failure in
            failure.code = WireFailure.Code(rawValue: code.rawValue) ?? .internal
            failure.message = message
            failure.notBegun = wasNotBegun
            failure.problems = problems.map { problem in
                WireDocumentProblem.with { wire in
                    wire.line = UInt32(clamping: problem.place.line)
                    wire.column = UInt32(clamping: problem.place.column)
                    wire.path = problem.path
                    wire.message = problem.message
                }
            }
        }
    }
}
