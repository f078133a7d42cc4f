/// What a client asked about one job, and what it was told.
///
/// For clients a job is a register: a submission makes it, a resize writes the value, a read returns it. Its end comes at a moment
/// of the cluster's own choice.
struct RegisterOperation: Sendable, Equatable {
    enum Kind: Sendable, Equatable {
        case submit
        case write(Int)
        /// A cancellation that was accepted ends nothing yet.
        case cancel
        case read
    }

    enum Result: Sendable, Equatable {
        case done
        /// There is no such job.
        case absent
        /// The job has ended.
        case ended
        /// The job lives and holds this; 0: nothing was written.
        case value(Int)
    }

    var kind: Kind
    var start: Int64
    /// nil: nobody knows whether it took effect, or whether it will.
    var end: Int64?
    var result: Result?
}

/// Searches for an order of all operations that explains every answer (Wing and Gong, "Testing and verifying concurrent
/// objects", 1993, with the memory of Lowe, "Testing for linearizability", 2017).
struct LinearizabilityChecker {
    enum State: Hashable, Sendable {
        case absent
        case live(Int)
        case ended
    }

    /// More operations on one job than this are not checked; clients do not make more.
    static let operationLimit = 60
    /// States of the search; beyond, the verdict is "not refuted".
    static let searchLimit = 200_000

    private struct Place: Hashable {
        let done: UInt64
        let state: State
    }

    private let operations: [RegisterOperation]
    private var visited: Set<Place> = []

    private init(_ operations: [RegisterOperation]) { self.operations = operations }

    /// Whether some order of the operations explains all answers.
    static func isLinearizable(_ operations: [RegisterOperation]) -> Bool {
        // What was asked without an answer and changes nothing explains nothing.
        let relevant = operations.filter { $0.result != nil || ($0.kind != .read && $0.kind != .cancel) }
        guard relevant.count <= operationLimit else { return true }
        var checker = LinearizabilityChecker(relevant.sorted { $0.start < $1.start })
        return checker.search(done: 0, state: .absent)
    }

    private mutating func search(done: UInt64, state: State) -> Bool {
        var firstEnd = Int64.max
        var isComplete = true
        for (number, operation) in operations.enumerated() where done & (1 << UInt64(number)) == 0 {
            guard let end = operation.end else { continue }
            isComplete = false
            firstEnd = min(firstEnd, end)
        }
        if isComplete { return true }
        guard visited.count < Self.searchLimit else { return true }
        guard visited.insert(Place(done: done, state: state)).inserted else { return false }
        for (number, operation) in operations.enumerated() where done & (1 << UInt64(number)) == 0 {
            // It cannot come before one that ended before it began.
            guard operation.start <= firstEnd else { break }
            for next in Self.successors(of: state, after: operation)
            where search(done: done | 1 << UInt64(number), state: next) {
                return true
            }
        }
        return false
    }

    /// The states that an operation with this answer leaves; none when the answer contradicts the state.
    ///
    /// A job may end at any moment before the operation, so what lives may count as ended.
    static func successors(of state: State, after operation: RegisterOperation) -> [State] {
        let mayHaveEnded = state != .absent
        switch (operation.kind, operation.result) {
        case (.submit, .done?): return [state == .absent ? .live(0) : state]
        case (.submit, nil): return [state == .absent ? .live(0) : state]
        case (.submit, _?): return []
        case (.write(let value), .done?):
            if case .live = state { return [.live(value)] }
            return []
        case (.write(let value), nil):
            if case .live = state { return [.live(value)] }
            return [state]
        case (.cancel, .done?):
            if case .live = state { return [state] }
            return []
        case (.read, .value(let value)?): return state == .live(value) ? [state] : []
        case (_, .absent?): return state == .absent ? [state] : []
        case (_, .ended?): return mayHaveEnded ? [.ended] : []
        default: return [state]
        }
    }
}
