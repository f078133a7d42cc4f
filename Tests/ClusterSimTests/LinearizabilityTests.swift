import Testing

@testable import ClusterSim

struct LinearizabilityTests {
    private func operation(
        _ kind: RegisterOperation.Kind,
        _ start: Int64,
        _ end: Int64?,
        _ result: RegisterOperation.Result?
    ) -> RegisterOperation {
        RegisterOperation(kind: kind, start: start, end: end, result: result)
    }

    @Test func `A history in which everything takes its turn is linearizable`() {
        #expect(
            LinearizabilityChecker.verdict([
                operation(.read, 0, 1, .absent), operation(.submit, 2, 3, .done), operation(.read, 4, 5, .value(0)),
                operation(.write(7), 6, 7, .done), operation(.read, 8, 9, .value(7)), operation(.cancel, 10, 11, .done),
                operation(.read, 12, 13, .ended), operation(.write(8), 14, 15, .ended),
            ]) == .linearizable
        )
    }

    @Test func `A read that misses what ended before it is not`() {
        #expect(
            LinearizabilityChecker.verdict([
                operation(.submit, 0, 1, .done), operation(.write(1), 2, 3, .done), operation(.read, 4, 5, .value(0)),
            ]) == .notLinearizable
        )
        #expect(
            LinearizabilityChecker.verdict([
                operation(.submit, 0, 1, .done), operation(.read, 2, 3, .absent),
            ]) == .notLinearizable
        )
    }

    @Test func `Operations at the same time may take either order, but all must see the same`() {
        let both = [
            operation(.submit, 0, 1, .done), operation(.write(1), 2, 9, .done), operation(.write(2), 2, 9, .done),
        ]
        for last in [1, 2] {
            #expect(LinearizabilityChecker.verdict(both + [operation(.read, 10, 11, .value(last))]) == .linearizable)
        }
        let torn = [operation(.read, 10, 11, .value(1)), operation(.read, 12, 13, .value(2))]
        #expect(LinearizabilityChecker.verdict(both + torn) == .notLinearizable)
    }

    @Test func `What was never answered may have happened, and may happen late`() {
        let open = [operation(.submit, 0, 1, .done), operation(.write(5), 2, nil, nil)]
        for value in [0, 5] {
            #expect(LinearizabilityChecker.verdict(open + [operation(.read, 50, 51, .value(value))]) == .linearizable)
        }
        let back = [operation(.read, 50, 51, .value(5)), operation(.read, 52, 53, .value(0))]
        #expect(LinearizabilityChecker.verdict(open + back) == .notLinearizable)
    }

    @Test func `Nothing lives after it was seen to have ended`() {
        #expect(
            LinearizabilityChecker.verdict([
                operation(.submit, 0, 1, .done), operation(.read, 2, 3, .ended), operation(.read, 4, 5, .value(0)),
            ]) == .notLinearizable
        )
    }
}
