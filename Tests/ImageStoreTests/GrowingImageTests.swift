import Checkpointing
import ClusterModel
import Foundation
import ImageStore
import Synchronization
import Testing

/// A checkpoint that goes to another node while it is being written.
struct GrowingImageTests {
    let scratch: Scratch
    private static let keys: [UInt64: [UInt8]] = [1: noise(32, seed: 77)]

    init() throws {
        scratch = try Scratch()
        try scratch.write(noise(6_000_000, seed: 3), to: "images/a.img")
        try scratch.write(text(700_000), to: "images/b.img")
    }

    private func store(
        _ name: String,
        keys: [UInt64: [UInt8]] = keys,
        observer: StoreObserver? = nil
    ) throws -> ImageStore {
        try ImageStore(
            folder: scratch(name),
            configuration: plain,
            keychain: CheckpointKeychain(keys),
            observer: observer
        )
    }

    /// What a reader got, and what held the writer until it had.
    private final class Reading: Sendable {
        let bytes = Mutex<[UInt8]>([])
        let hasSome = DispatchSemaphore(value: 0)
        private let failure = Mutex<(any Error)?>(nil)
        private let task = Mutex<Task<Void, Never>?>(nil)

        /// Reads what there is of a generation until it is whole; `enough` bytes let the writer go on.
        func begin(_ store: ImageStore, enough: Int) {
            let image = store.growing(job, generation(1))
            let task = Task {
                do {
                    var hasSignalled = false
                    while true {
                        let offset = UInt64(bytes.withLock(\.count))
                        guard let piece = try await image?.read(from: offset, limit: 100_000), !piece.isEmpty else {
                            return
                        }
                        let count = bytes.withLock { bytes in
                            bytes += piece
                            return bytes.count
                        }
                        if count >= enough, !hasSignalled {
                            hasSignalled = true
                            hasSome.signal()
                        }
                    }
                } catch {
                    failure.withLock { $0 = error }
                }
            }
            self.task.withLock { $0 = task }
        }

        func end() async -> (any Error)? {
            await task.withLock { $0 }?.value
            return failure.withLock { $0 }
        }
    }

    @Test("what another node took in while it was written need not come again")
    func early() async throws {
        let reading = Reading()
        let home = try store("home") { step in
            if case .dataSynchronized = step { reading.hasSome.wait() }
        }
        let away = try store("away")
        let record = try await home.store(source(1, images: scratch("images"))) { [home] in
            reading.begin(home, enough: 3_000_000)
        }
        #expect(await reading.end() == nil)
        #expect(home.growing(job, generation(1)) == nil, "it is a checkpoint like others now")
        let early = reading.bytes.withLock { $0 }
        let data = try Data(contentsOf: URL(filePath: scratch("home/\(job)/1/data")))
        #expect(early.count >= 3_000_000 && data.starts(with: early))

        let incoming = try await away.incoming(job, generation(1))
        try await incoming.write(Array(early.prefix(1_000_000)), at: 0)
        try await incoming.write(Array(early.dropFirst(1_000_000)), at: 1_000_000)
        let gap = await storeError { try await incoming.write([1], at: UInt64(early.count + 1)) }
        #expect(gap?.code == .damaged)
        let outgoing = try await home.outgoing(job, generation(1), held: incoming.held)
        let seal = try #require(record.seal)
        #expect(try await incoming.begin(index: outgoing.index, seal: seal) == outgoing.dataLength)
        #expect(incoming.kept == UInt64(early.count))
        var offset = incoming.kept
        while case let piece = try await outgoing.read(from: offset, limit: 100_000), !piece.isEmpty {
            try await incoming.write(piece, at: offset)
            offset += UInt64(piece.count)
        }
        _ = try await incoming.finish()
        try await away.extract(job, generation(1), to: scratch("out"), layerArchive: nil)
        #expect(try Tree(scratch("out")) == Tree(scratch("images")))
    }

    @Test("what comes early has its room together with all copies that come, and leaves nothing when it is given up")
    func room() async throws {
        let (home, away) = (try store("home"), try store("away"))
        let seal = try #require(try await home.store(source(3, images: scratch("images"))).seal)
        let outgoing = try await home.outgoing(job, generation(3))
        let limit = ByteCount.bytes(Int64(outgoing.dataLength) + 1000)
        let first = try await away.incoming(job, generation(1), room: limit)
        try await first.write([UInt8](repeating: 1, count: 800), at: 0)
        var second: IncomingImage? = try await away.incoming(job, generation(2), room: limit)
        try await second?.write([UInt8](repeating: 2, count: 200), at: 0)
        do {
            // One whose index is here is not bounded so, and counts in full.
            let whole = try await away.incoming(job, generation(3), room: .zero)
            #expect(try await whole.begin(index: outgoing.index, seal: seal) == outgoing.dataLength)
            for incoming in [first, second] {
                let error = await storeError { try await incoming?.write([1], at: incoming === first ? 800 : 200) }
                #expect(error?.code == .noSpace && error?.message.contains("left for copies") == true)
            }
            var offset = UInt64(0)
            while case let piece = try await outgoing.read(from: offset, limit: 1 << 20), !piece.isEmpty {
                try await whole.write(piece, at: offset)
                offset += UInt64(piece.count)
            }
            _ = try await whole.finish()
        }
        // Now it is a checkpoint, and counts as one.
        try await first.write([1], at: 800)
        second = nil
        let names = try FileManager.default.contentsOfDirectory(atPath: scratch("away/\(job)"))
        #expect(names.sorted() == ["1.partial", "3"])
        let rest = Int(limit.rawValue) - 801
        try await first.write([UInt8](repeating: 1, count: rest), at: 801)
        #expect(await storeError { try await first.write([1], at: UInt64(801 + rest)) }?.code == .noSpace)
    }

    @Test("what came early of another image is found out")
    func foreign() async throws {
        let (home, away) = (try store("home"), try store("away"))
        let seal = try #require(try await home.store(source(1, images: scratch("images"))).seal)
        let outgoing = try await home.outgoing(job, generation(1))
        do {
            let incoming = try await away.incoming(job, generation(1))
            try await incoming.write(noise(20_000, seed: 4), at: 0)
            #expect(try await incoming.begin(index: outgoing.index, seal: seal) == outgoing.dataLength)
            var offset = incoming.kept
            while case let piece = try await outgoing.read(from: offset, limit: 1 << 20), !piece.isEmpty {
                try await incoming.write(piece, at: offset)
                offset += UInt64(piece.count)
            }
            #expect(await storeError { try await incoming.finish() }?.code == .damaged)
        }
        let incoming = try await away.incoming(job, generation(1))
        try await incoming.write(noise(Int(outgoing.dataLength) + 1, seed: 4), at: 0)
        let error = await storeError { try await incoming.begin(index: outgoing.index, seal: seal) }
        #expect(error?.code == .damaged, "it has more data than its index says")
    }

    @Test("where data of an earlier generation must come first, what came early is not counted")
    func sharedFirst() async throws {
        let (home, away) = (try store("home"), try store("away"))
        _ = try await home.store(source(1, images: scratch("images")))
        try scratch.write(text(800_000), to: "images/b.img")
        let record = try await home.store(source(2, images: scratch("images")), sharing: true)
        let outgoing = try await home.outgoing(job, generation(2))
        let own = try Data(contentsOf: URL(filePath: scratch("home/\(job)/2/data")))
        let incoming = try await away.incoming(job, generation(2))
        try await incoming.write(Array(own.prefix(2000)), at: 0)
        let length = try await incoming.begin(index: outgoing.index, seal: try #require(record.seal))
        #expect(length > UInt64(own.count), "the earlier generation's data is to come, too")
        #expect(incoming.kept == 0)
    }

    @Test("whoever reads a checkpoint that is given up hears of it")
    func failed() async throws {
        let reading = Reading()
        let home = try store("home") { step in
            guard case .dataSynchronized = step else { return }
            reading.hasSome.wait()
            throw ImageStoreError(.noSpace, "planted")
        }
        let error = await storeError {
            try await home.store(source(1, images: scratch("images"))) { [home] in reading.begin(home, enough: 1) }
        }
        #expect(error?.code == .noSpace)
        #expect((await reading.end() as? ImageStoreError)?.code == .notFound)
        #expect(home.growing(job, generation(1)) == nil)
    }

    @Test("what is not sealed is not given away")
    func unsealed() async throws {
        let home = try store("home", keys: [:])
        let calls = Mutex(0)
        _ = try await home.store(source(1, images: scratch("images"))) { calls.withLock { $0 += 1 } }
        #expect(calls.withLock { $0 } == 0)
    }
}
