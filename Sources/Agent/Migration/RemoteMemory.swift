import Checkpointing
import ClusterModel
import ImageStore
import LinuxSystem
import Synchronization
import Transport

/// Pages that lie side by side in a process.
struct PageRun: Sendable, Equatable {
    /// A multiple of the page size.
    var address: UInt64
    /// At least 1.
    var pageCount: UInt64
}

/// Pages of a job that moves, which the destination wants from its source.
struct PagesRequest: Sendable, Equatable {
    var job: JobID
    /// Of the job's moves.
    var number: UInt64
    /// In its own PID namespace.
    var process: UInt64
    /// At most `pageLimit` pages in all.
    var runs: [PageRun]
    /// Whether a process waits for them.
    var isUrgent = false

    /// 1 MiB, which fits a frame even if it cannot be compressed.
    static let pageLimit: UInt64 = 256
}

/// The memory of a container that runs here and still lies, in part, with the node that it came from.
///
/// Knows from the page maps what there is, asks for the next stretches before CRIU does, several at once, and at once for what a process waits for. A line
/// that is cut is tried again until nothing has come for `patience`; what is thrown then ends the container.
final class RemoteMemory: PageSource {
    /// Pages that are fetched together.
    private struct Batch: Sendable {
        var process: UInt64
        var runs: [PageRun]
        var byteCount: Int
    }

    /// A run of pages and where in its batch it lies.
    private struct Place: Sendable {
        var run: PageRun
        var batch: Int
        var offset: Int
    }

    private enum Stage {
        case wanted
        case coming([Task<Void, Never>], isUrgent: Bool)
        case here([UInt8], taken: Int)
        /// All of it was handed out.
        case gone
    }

    private struct State {
        var stages: [Stage]
        /// Batches that are here, the one that came first at the beginning.
        var here: [Int] = []
        var coming = 0
        /// The stretch that was read last by CRIU's transfer in the background.
        var front = 0
        var lastNews = ContinuousClock.now
        var sent: ByteCount = .zero
        var failure: RestoreProblem?
        var isClosed = false
    }

    let byteCount: ByteCount
    private let job: JobID
    private let number: UInt64
    private let patience: Duration
    private let fetch: @Sendable (PagesRequest) async throws -> [DumpPiece]
    private let batches: [Batch]
    private let places: [UInt64: [Place]]
    private let state: Mutex<State>
    private let news: ThreadEvent

    /// Requests that are under way at once.
    private static let requestLimit = 6
    /// Batches that wait here to be asked for: 32 MiB at most.
    private static let cacheLimit = 32
    private static let pageBytes = UInt64(ImageIndex.pageBytes)

    /// Looks what `memory` lacks; `fetch` asks the source once, and nothing may come for `patience`.
    init(
        _ memory: DumpedMemory,
        of move: (job: JobID, number: UInt64),
        patience: Duration = .seconds(20),
        fetch: @escaping @Sendable (PagesRequest) async throws -> [DumpPiece]
    ) throws(SystemError) {
        (job, number) = move
        (self.patience, self.fetch) = (patience, fetch)
        var (batches, places): ([Batch], [UInt64: [Place]]) = ([], [:])
        for (process, map) in memory.processes.sorted(by: { $0.key < $1.key }) {
            var batch = Batch(process: process, runs: [], byteCount: 0)
            for run in map.runs where !run.flags.contains(.present) {
                var (address, left) = (run.address, run.pageCount)
                while left > 0 {
                    let room = PagesRequest.pageLimit - UInt64(batch.byteCount) / Self.pageBytes
                    let part = PageRun(address: address, pageCount: min(left, room))
                    places[process, default: []].append(
                        Place(run: part, batch: batches.count, offset: batch.byteCount)
                    )
                    batch.runs.append(part)
                    batch.byteCount += Int(part.pageCount * Self.pageBytes)
                    (address, left) = (address + part.pageCount * Self.pageBytes, left - part.pageCount)
                    if UInt64(batch.byteCount) == PagesRequest.pageLimit * Self.pageBytes {
                        batches.append(batch)
                        batch = Batch(process: process, runs: [], byteCount: 0)
                    }
                }
            }
            if !batch.runs.isEmpty { batches.append(batch) }
        }
        (self.batches, self.places) = (batches, places)
        byteCount = .bytes(batches.reduce(0) { $0 + Int64($1.byteCount) })
        state = Mutex(State(stages: batches.map { _ in .wanted }))
        news = try ThreadEvent()
    }

    deinit { close() }

    /// What went over the line.
    var sentBytes: ByteCount { state.withLock { $0.sent } }

    func read(process: UInt64, address: UInt64, pageCount: UInt64, into output: inout [UInt8]) throws -> Int {
        guard let place = place(of: address, in: process) else {
            throw RestoreProblem.unavailable(
                reason: "the dump of job \(job) says nothing of a page of process \(process) at address \(address)"
            )
        }
        let skipped = (address - place.run.address) / Self.pageBytes
        let count = min(pageCount, place.run.pageCount - skipped)
        let start = place.offset + Int(skipped * Self.pageBytes)
        let length = Int(count * Self.pageBytes)
        while true {
            let isHere = try state.withLock { state in
                if let failure = state.failure { throw failure }
                guard !state.isClosed else { throw RestoreProblem.unavailable(reason: "the memory was closed") }
                // A single page is what a process waits for; the rest is asked for in order.
                if pageCount > 1 { state.front = place.batch }
                guard case .here(let bytes, let taken) = state.stages[place.batch] else {
                    ask(for: place.batch, isUrgent: pageCount == 1, &state)
                    return false
                }
                output += bytes[start..<start + length]
                keep(bytes, of: place.batch, taken: taken + length, &state)
                askAhead(&state)
                return true
            }
            if isHere { return Int(count) }
            // Whoever fetches it ends that, well or not, within its patience.
            _ = news.wait(within: .seconds(5))
        }
    }

    func prefetch(process: UInt64, address: UInt64) { state.withLock { askAhead(&$0) } }

    func close() {
        let tasks = state.withLock { state in
            state.isClosed = true
            state.here = []
            return state.stages.indices.flatMap { index -> [Task<Void, Never>] in
                defer { state.stages[index] = .gone }
                if case .coming(let tasks, _) = state.stages[index] { return tasks }
                return []
            }
        }
        for task in tasks { task.cancel() }
        news.signal()
    }

    private func place(of address: UInt64, in process: UInt64) -> Place? {
        guard let places = places[process] else { return nil }
        let after = places.firstSortedIndex { $0.run.address > address }
        guard after > 0 else { return nil }
        let found = places[after - 1]
        let within = address - found.run.address
        return within < found.run.pageCount * Self.pageBytes && within % Self.pageBytes == 0 ? found : nil
    }

    // MARK: Fetching

    /// Forgets a batch of which every page was handed out; CRIU asks for each once.
    private func keep(_ bytes: [UInt8], of batch: Int, taken: Int, _ state: inout State) {
        guard taken >= bytes.count else {
            state.stages[batch] = .here(bytes, taken: taken)
            return
        }
        state.stages[batch] = .gone
        state.here.removeAll { $0 == batch }
    }

    /// Keeps requests under way for what comes next.
    private func askAhead(_ state: inout State) {
        guard !state.isClosed, state.failure == nil else { return }
        var next = state.front
        let end = min(batches.count, state.front + Self.cacheLimit / 2)
        while next < end, state.coming < Self.requestLimit {
            if case .wanted = state.stages[next] { ask(for: next, isUrgent: false, &state) }
            next += 1
        }
    }

    private func ask(for batch: Int, isUrgent: Bool, _ state: inout State) {
        var tasks: [Task<Void, Never>] = []
        switch state.stages[batch] {
        case .here: return
        // One that the bound of bandwidth may hold back is overtaken.
        case .coming(let known, let wasUrgent):
            guard isUrgent, !wasUrgent else { return }
            tasks = known
        case .wanted, .gone: break
        }
        if state.coming == 0 { state.lastNews = .now }
        state.coming += 1
        let wanted = batches[batch]
        let request = PagesRequest(
            job: job,
            number: number,
            process: wanted.process,
            runs: wanted.runs,
            isUrgent: isUrgent
        )
        tasks.append(
            Task(name: "migration.pages") { [weak self] in await self?.bring(batch, request, wanted.byteCount) }
        )
        state.stages[batch] = .coming(tasks, isUrgent: isUrgent)
    }

    private func bring(_ batch: Int, _ request: PagesRequest, _ byteCount: Int) async {
        while !Task.isCancelled {
            do {
                let pieces = try await fetch(request)
                let bytes = try await PagePieces.decode(pieces, byteCount: byteCount)
                return came(batch, bytes, sent: pieces.reduce(0) { $0 + $1.stored.count })
            } catch {
                if let problem = judge(error) { return fail(problem) }
                try? await Task.sleep(for: .milliseconds(100))
            }
        }
    }

    private func came(_ batch: Int, _ bytes: [UInt8], sent: Int) {
        state.withLock { state in
            guard !state.isClosed else { return }
            state.coming -= 1
            state.lastNews = .now
            state.sent = state.sent + .bytes(Int64(sent))
            if case .coming = state.stages[batch] {
                state.stages[batch] = .here(bytes, taken: 0)
                state.here.append(batch)
            }
            // Faults here and there have brought it, and the rest of it was not asked for yet: it comes again then.
            while state.here.count > Self.cacheLimit { state.stages[state.here.removeFirst()] = .wanted }
            askAhead(&state)
        }
        news.signal()
    }

    private func fail(_ problem: RestoreProblem) {
        state.withLock { $0.failure = $0.failure ?? problem }
        news.signal()
    }

    /// What a failed request means; nil when it is to be asked again.
    private func judge(_ error: any Error) -> RestoreProblem? {
        if let failure = error as? RPCFailure {
            switch failure.code {
            case .unavailable, .deadlineExceeded, .exhausted, .conflict, .cancelled: break
            case .notFound, .forbidden, .unimplemented, .invalid, .internal:
                return .unavailable(reason: failure.message)
            }
        }
        guard state.withLock({ ContinuousClock.now - $0.lastNews > patience }) else { return nil }
        return .unavailable(reason: "nothing came from the source for \(patience.text): \(error)")
    }
}
