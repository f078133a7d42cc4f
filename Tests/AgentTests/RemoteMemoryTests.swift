import Checkpointing
import ClusterModel
import ImageStore
import LinuxSystem
import Synchronization
import Testing
import Transport

@testable import Agent

/// What a container that has moved still lacks comes from the node that it left: every page as it was, or an error.
struct RemoteMemoryTests {
    /// The other node: answers with pages that say what they are.
    private final class Source: Sendable {
        let requests = Mutex<[PagesRequest]>([])
        /// What to throw instead of the answer to the next requests.
        let failures: Mutex<[RPCFailure]>

        init(failing failures: [RPCFailure] = []) { self.failures = Mutex(failures) }

        func answer(_ request: PagesRequest) async throws -> [DumpPiece] {
            requests.withLock { $0.append(request) }
            if let failure = failures.withLock({ $0.isEmpty ? nil : $0.removeFirst() }) { throw failure }
            return try await PagePieces.encode {
                request.runs.flatMap { run in
                    (0..<run.pageCount).flatMap { RemoteMemoryTests.page(request.process, run.address + $0 * 4096) }
                }
            }
        }
    }

    /// Every third page holds only zeros.
    static func page(_ process: UInt64, _ address: UInt64) -> [UInt8] {
        [UInt8](
            repeating: address / 4096 % 3 == 0 ? 0 : UInt8(truncatingIfNeeded: address / 4096 &+ process),
            count: 4096
        )
    }

    /// Two processes: one with a long and some short stretches, and one that has a page in its file already.
    private static let lacking = [
        7: [(UInt64(0x10000), UInt64(700)), (0x400000, 1), (0x402000, 2)], 9: [(0x10000, 3)],
    ]

    private func memory(_ source: Source, patience: Duration = .seconds(20)) throws -> RemoteMemory {
        let maps = Self.lacking.map { process, runs in
            (
                UInt64(process),
                PageMap(
                    pagesFile: "pages-\(process).img",
                    runs: runs.map { .init(address: $0.0, pageCount: $0.1, flags: .lazy, offset: 0) }
                        + [.init(address: 0x900000, pageCount: 1, flags: .present, offset: 0)]
                )
            )
        }
        let dumped = DumpedMemory(processes: Dictionary(uniqueKeysWithValues: maps))
        return try RemoteMemory(dumped, of: (JobID(rawValue: "job1aaaaaaaa"), 3), patience: patience) { request in
            try await source.answer(request)
        }
    }

    @Test func everyPageComesAsItWas() async throws {
        let source = Source()
        let memory = try memory(source)
        #expect(memory.byteCount == .bytes(706 * 4096))
        // As CRIU does it: a page that somebody waits for, then all in order, in pieces of its own choice.
        try await onThread {
            var output: [UInt8] = []
            let count = try memory.read(process: 7, address: 0x10000 + 300 * 4096, pageCount: 1, into: &output)
            #expect(count == 1)
            #expect(output == Self.page(7, 0x10000 + 300 * 4096))
            for (process, runs) in Self.lacking {
                for (start, count) in runs {
                    var at: UInt64 = 0
                    while at < count {
                        output = [1, 2]
                        let address = start + at * 4096
                        let found = try memory.read(
                            process: UInt64(process),
                            address: address,
                            pageCount: min(64, count - at),
                            into: &output
                        )
                        #expect(found > 0 && output.count == 2 + found * 4096)
                        for page in 0..<found {
                            let start = 2 + page * 4096
                            #expect(
                                Array(output[start..<start + 4096])
                                    == Self.page(UInt64(process), address + UInt64(page) * 4096)
                            )
                        }
                        at += UInt64(found)
                    }
                }
            }
        }
        let requests = source.requests.withLock(\.self)
        #expect(requests.allSatisfy { $0.runs.reduce(0) { $0 + $1.pageCount } <= PagesRequest.pageLimit })
        #expect(requests.first?.isUrgent == true)
        // Nothing was fetched twice but what was taken apart.
        #expect(requests.count <= 6)
        #expect(memory.sentBytes > .zero && memory.sentBytes < memory.byteCount)
    }

    @Test func aLineThatIsCutIsTriedAgain() async throws {
        let cut = RPCFailure(.unavailable, "node a cannot be reached")
        let memory = try memory(Source(failing: [cut, cut]))
        try await onThread {
            var output: [UInt8] = []
            let count = try memory.read(process: 9, address: 0x10000, pageCount: 3, into: &output)
            #expect(count == 3)
        }
    }

    @Test(arguments: [
        (RPCFailure(.notFound, "this node has no memory of it"), Duration.seconds(1000), "has no memory"),
        (RPCFailure(.unavailable, "node a cannot be reached"), .zero, "nothing came from the source"),
    ])
    func whatCannotBeHadIsAnError(_ failure: RPCFailure, patience: Duration, words: String) async throws {
        let memory = try memory(Source(failing: Array(repeating: failure, count: 1000)), patience: patience)
        let error = try await onThread {
            var output: [UInt8] = []
            do {
                _ = try memory.read(process: 9, address: 0x10000, pageCount: 3, into: &output)
                return ""
            } catch {
                return (error as? RestoreProblem)?.reason ?? "another error: \(error)"
            }
        }
        #expect(error.contains(words))
    }

    @Test func whatWasClosedOrNeverLackedIsAnError() async throws {
        let memory = try memory(Source())
        for (process, address) in [(UInt64(7), UInt64(0x900000)), (7, 0x10001), (8, 0x10000)] {
            var output: [UInt8] = []
            #expect(throws: RestoreProblem.self) {
                try memory.read(process: process, address: address, pageCount: 1, into: &output)
            }
        }
        memory.close()
        try await onThread {
            var output: [UInt8] = []
            #expect(throws: RestoreProblem.self) {
                try memory.read(process: 9, address: 0x10000, pageCount: 3, into: &output)
            }
        }
    }

    /// Runs what may be held up on a thread that no task needs.
    private func onThread<Result: Sendable>(_ body: @escaping @Sendable () throws -> Result) async throws -> Result {
        try await withCheckedThrowingContinuation { continuation in
            do {
                try SystemThread.start(name: "test") { continuation.resume(with: Swift.Result { try body() }) }
            } catch { continuation.resume(throwing: error) }
        }
    }
}
