/// One thing that a client asked for, when, and what it was told, with the rule by which it changes what it was asked of.
protocol RecordedOperation {
    associatedtype State: Hashable

    /// What there is before the first operation.
    static var initial: State { get }
    var start: Int64 { get }
    /// nil: nobody knows whether it took effect, or whether it will.
    var end: Int64? { get }
    /// Whether it need not be explained: it changes nothing, and nobody was told anything.
    var isVoid: Bool { get }

    /// The states that the operation may leave when it was answered as it was; none when the answer contradicts the state.
    func successors(of state: State) -> [State]
}

/// Searches for an order of all operations that explains every answer (Wing and Gong, "Testing and verifying concurrent
/// objects", 1993, with the memory of Lowe, "Testing for linearizability", 2017).
struct LinearizabilityChecker<Operation: RecordedOperation> {
    /// What the search came to.
    enum Verdict: Sendable, Equatable {
        case linearizable
        case notLinearizable
        /// The search was given up.
        case unknown
    }

    private struct Place: Hashable {
        let done: [UInt64]
        let state: Operation.State
    }

    private let operations: [Operation]
    private let searchLimit: Int
    private var visited: Set<Place> = []
    private var done: [UInt64]
    private var finished = 0
    /// Operations before this one are all done.
    private let answered: Int
    private var hasGivenUp = false

    private init(_ operations: [Operation], searchLimit: Int) {
        self.operations = operations.filter { !$0.isVoid }.sorted { $0.start < $1.start }
        self.searchLimit = searchLimit
        done = [UInt64](repeating: 0, count: (self.operations.count + 63) / 64)
        answered = self.operations.count { $0.end != nil }
    }

    /// Whether some order of the operations explains all answers.
    ///
    /// - Parameters:
    ///   - operations: all that anybody did to one object, in any order.
    ///   - searchLimit: places of the search that are looked at before it is given up.
    /// - Returns: the verdict.
    static func verdict(_ operations: [Operation], searchLimit: Int = 200_000) -> Verdict {
        var checker = LinearizabilityChecker(operations, searchLimit: searchLimit)
        if checker.search(from: 0, Operation.initial) { return .linearizable }
        return checker.hasGivenUp ? .unknown : .notLinearizable
    }

    private func isDone(_ number: Int) -> Bool { done[number / 64] & (1 << UInt64(number % 64)) != 0 }

    /// Tries every order from here on; all operations before `first` are done.
    private mutating func search(from first: Int, _ state: Operation.State) -> Bool {
        if finished == answered { return true }
        guard visited.count < searchLimit else {
            hasGivenUp = true
            return false
        }
        guard visited.insert(Place(done: done, state: state)).inserted else { return false }
        var (number, firstEnd) = (first, Int64.max)
        // What begins after something has ended cannot come before it; the operations are in the order of their starts.
        while number < operations.count, operations[number].start <= firstEnd {
            if !isDone(number), let end = operations[number].end { firstEnd = min(firstEnd, end) }
            number += 1
        }
        let candidates = number
        var next = first
        while next < candidates, isDone(next) { next += 1 }
        for number in next..<candidates where !isDone(number) && operations[number].start <= firstEnd {
            let counts = operations[number].end == nil ? 0 : 1
            done[number / 64] |= 1 << UInt64(number % 64)
            finished += counts
            for after in operations[number].successors(of: state) where search(from: next, after) { return true }
            done[number / 64] &= ~(1 << UInt64(number % 64))
            finished -= counts
            if hasGivenUp { return false }
        }
        return false
    }
}

/// What a client asked about one job, and what it was told.
///
/// For clients a job is a register: a submission makes it, a resize writes the value, a read returns it. Its end comes at a moment
/// of the cluster's own choice.
struct RegisterOperation: RecordedOperation, Sendable, Equatable {
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

    enum State: Hashable, Sendable {
        case absent
        case live(Int)
        case ended
    }

    static var initial: State { .absent }

    var kind: Kind
    var start: Int64
    var end: Int64?
    var result: Result?

    var isVoid: Bool { result == nil && (kind == .read || kind == .cancel) }

    /// A job may end at any moment before the operation, so what lives may count as ended.
    func successors(of state: State) -> [State] {
        switch (kind, result) {
        case (.submit, .done?), (.submit, nil): return [state == .absent ? .live(0) : state]
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
        case (_, .ended?): return state != .absent ? [.ended] : []
        default: return [state]
        }
    }
}
