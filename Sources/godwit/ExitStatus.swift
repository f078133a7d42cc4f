import ControlMessages

/// How the program ends; the numbers are promised in `godwit --help` and godwit(1).
enum ExitStatus: Int32, Sendable {
    case success = 0
    /// The agent said no, or the job did not complete.
    case failure = 1
    case usage = 2
    case notFound = 3
    /// The deadline cannot be met.
    case refused = 4
    /// No agent could be reached, or none could serve the request now.
    case unreachable = 5
    case forbidden = 6
    case timedOut = 7
    case interrupted = 130
}

/// Why a command ended without doing what was asked: one line that says what failed, why, and what to do next.
struct CommandFailure: Error, Sendable, Equatable {
    var status: ExitStatus
    /// Without the program's name and without a full stop.
    var message: String
    /// What is wrong with the submitted document, when that is the reason.
    var problems: [WireDocumentProblem] = []
    /// Lines that are printed before the message: the document's problems in their place.
    var excerpt = ""

    init(_ status: ExitStatus, _ message: String) {
        self.status = status
        self.message = message
    }

    /// What an agent answered instead of doing it.
    init(_ failure: WireFailure) {
        status =
            switch failure.code {
            case .notFound: .notFound
            case .forbidden: .forbidden
            case .unavailable: .unreachable
            case .deadlineExceeded: .timedOut
            case .unspecified, .invalid, .conflict, .cancelled, .exhausted, .unimplemented, .internal, .UNRECOGNIZED:
                .failure
            }
        message = failure.message.isEmpty ? "the agent refused without a reason (\(failure.code))" : failure.message
        problems = failure.problems
    }
}
