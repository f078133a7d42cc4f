import Checkpointing
import ClusterModel
import Foundation
import ImageStore
import Testing

struct SealedImageTests {
    let scratch: Scratch
    static let key = noise(32, seed: 77)

    init() throws {
        scratch = try Scratch()
        try scratch.write(text(700_000), to: "images/a.img")
        try scratch.write(noise(90_000, seed: 5), to: "images/b.img")
        try scratch.write([UInt8](repeating: 0, count: 5000) + [1], to: "images/c.img")
    }

    func store(_ name: String, keys: [UInt64: [UInt8]] = [1: key]) throws -> ImageStore {
        try ImageStore(folder: scratch(name), configuration: plain, keychain: CheckpointKeychain(keys))
    }

    /// Sends a copy as agents do, in small pieces.
    func copy(
        _ number: UInt32,
        from: ImageStore,
        to: ImageStore,
        seal: ImageSeal,
        change: (inout [UInt8], UInt64) -> Void = { _, _ in }
    ) async throws -> CheckpointRecord {
        let outgoing = try await from.outgoing(job, generation(number))
        let incoming = try await to.incoming(job, generation(number))
        let length = try await incoming.begin(index: outgoing.index, seal: seal)
        #expect(length == outgoing.dataLength)
        var offset: UInt64 = 0
        while true {
            var piece = try await outgoing.read(from: offset, limit: 30_000)
            if piece.isEmpty { break }
            change(&piece, offset)
            try await incoming.write(piece, at: offset)
            offset += UInt64(piece.count)
        }
        return try await incoming.finish()
    }

    @Test("what is sealed comes back as it was, and nothing of it can be read on the disk")
    func roundTrip() async throws {
        let marker = Array("a secret that nobody may see: 123456".utf8)
        try scratch.write(marker + text(9000), to: "images/d.img")
        let store = try store("store")
        let record = try await store.store(source(1, images: scratch("images")))
        #expect(record.seal?.isPlausible == true)
        #expect(try await store.generations(of: job) == [record])
        try await store.extract(job, generation(1), to: scratch("out"), layerArchive: nil)
        #expect(try Tree(scratch("out")) == Tree(scratch("images")))
        for file in ["data", "index"] {
            let bytes = try Data(contentsOf: URL(filePath: scratch("store/\(job)/1/\(file)")))
            #expect(bytes.range(of: Data(marker)) == nil && bytes.range(of: Data("a.img".utf8)) == nil)
        }
    }

    @Test("two images of the same content have nothing in common on the disk")
    func salted() async throws {
        let store = try store("store")
        for number in [1, 2] as [UInt32] { _ = try await store.store(source(number, images: scratch("images"))) }
        let (one, two) = (
            try Data(contentsOf: URL(filePath: scratch("store/\(job)/1/data"))),
            try Data(contentsOf: URL(filePath: scratch("store/\(job)/2/data")))
        )
        #expect(one.count == two.count)
        #expect(zip(one, two).dropFirst(128).count { $0 == $1 } < one.count / 100)
    }

    @Test("every changed byte of a sealed index, and every cut, is found")
    func changedIndex() async throws {
        let store = try store("store")
        _ = try await store.store(source(1, images: scratch("images")))
        let url = URL(filePath: scratch("store/\(job)/1/index"))
        let original = try Data(contentsOf: url)
        for position in original.indices {
            var changed = original
            changed[position] ^= 0x10
            try changed.write(to: url)
            #expect(await storeError { try await store.inspect(job, generation(1)) }?.code == .damaged)
        }
        for count in stride(from: 0, to: original.count, by: 11) {
            try original.prefix(count).write(to: url)
            #expect(await storeError { try await store.inspect(job, generation(1)) }?.code == .damaged)
        }
    }

    @Test("a region from elsewhere does not open, although its checksum is made to fit")
    func movedRegion() async throws {
        // The same content in two generations: what lies at one place in one of them does not open in the other.
        let store = try store("store")
        for number in [1, 2] as [UInt32] { _ = try await store.store(source(number, images: scratch("images"))) }
        let (one, two) = (scratch("store/\(job)/1/data"), scratch("store/\(job)/2/data"))
        let header = try Data(contentsOf: URL(filePath: one)).prefix(128)
        let foreign = try Data(contentsOf: URL(filePath: two)).dropFirst(128)
        try (header + foreign).write(to: URL(filePath: one))
        #expect(await storeError { try await store.verify(job, generation(1)) }?.code == .damaged)
    }

    @Test("an image of another cluster, or under a key that is gone, is refused by name")
    func foreign() async throws {
        let record = try await store("store").store(source(1, images: scratch("images")))
        #expect(record.seal?.key == 1)
        for keys in [[1: noise(32, seed: 1)], [2: Self.key], [:]] as [[UInt64: [UInt8]]] {
            let other = try store("store", keys: keys)
            let error = await storeError { try await other.verify(job, generation(1)) }
            #expect(error?.code == .damaged)
            #expect(error?.message.contains("checkpoint key 1") == true)
            let listed = try await other.generations(of: job)
            #expect(listed.map(\.state) == [.damaged])
        }
    }

    @Test("after a rotation old images open and new ones use the new key")
    func rotated() async throws {
        let store = try store("store")
        _ = try await store.store(source(1, images: scratch("images")))
        store.keychain.replace(with: [1: Self.key, 2: noise(32, seed: 78)])
        let second = try await store.store(source(2, images: scratch("images")))
        #expect(second.seal?.key == 2)
        for number in [1, 2] as [UInt32] { try await store.verify(job, generation(number)) }
    }

    @Test("a copy is the same byte for byte, and can be copied on and restored")
    func copied() async throws {
        let (one, two, three) = (try store("one"), try store("two"), try store("three"))
        let record = try await one.store(source(1, images: scratch("images")))
        let seal = try #require(record.seal)
        let second = try await copy(1, from: one, to: two, seal: seal)
        #expect(second.seal == seal && second.ledger == record.ledger && second.storedBytes == record.storedBytes)
        _ = try await copy(1, from: two, to: three, seal: seal)
        for file in ["data", "index"] {
            #expect(
                FileManager.default.contentsEqual(
                    atPath: scratch("one/\(job)/1/\(file)"),
                    andPath: scratch("three/\(job)/1/\(file)")
                )
            )
        }
        try await three.extract(job, generation(1), to: scratch("out"), layerArchive: nil)
        #expect(try Tree(scratch("out")) == Tree(scratch("images")))
    }

    @Test("a bit that fell over on the way leaves no copy")
    func changedOnTheWay() async throws {
        let (one, two) = (try store("one"), try store("two"))
        let seal = try #require(try await one.store(source(1, images: scratch("images"))).seal)
        let error = await storeError {
            try await copy(1, from: one, to: two, seal: seal) { piece, offset in
                if offset == 30_000 { piece[17] ^= 4 }
            }
        }
        #expect(error?.code == .damaged)
        #expect(try await two.generations(of: job).isEmpty)
        #expect(!FileManager.default.fileExists(atPath: scratch("two/\(job)")))
        // And it can be taken again.
        _ = try await copy(1, from: one, to: two, seal: seal)
    }

    @Test("a copy of something else than what the catalog knows is refused before its data come")
    func otherIndex() async throws {
        let (one, two) = (try store("one"), try store("two"))
        _ = try await one.store(source(1, images: scratch("images")))
        let other = try #require(try await one.store(source(2, images: scratch("images"))).seal)
        let error = await storeError { try await copy(1, from: one, to: two, seal: other) }
        #expect(error?.code == .damaged)
        #expect(error?.message.contains("not the one that the catalog knows") == true)
    }

    @Test("an image that is not sealed is not sent")
    func unsealed() async throws {
        let store = try store("store", keys: [:])
        let record = try await store.store(source(1, images: scratch("images")))
        #expect(record.seal == nil)
        #expect(await storeError { try await store.outgoing(job, generation(1)) }?.code == .unsuitable)
    }

    @Test("while it is read an image stays, and while it comes nobody else takes it in")
    func uses() async throws {
        let (one, two) = (try store("one"), try store("two"))
        _ = try await one.store(source(1, images: scratch("images")))
        var outgoing: OutgoingImage? = try await one.outgoing(job, generation(1))
        #expect(await storeError { try await one.remove(job, generation(1)) }?.code == .busy)
        var incoming: IncomingImage? = try await two.incoming(job, generation(1))
        #expect(await storeError { try await two.incoming(job, generation(1)) }?.code == .busy)
        #expect(outgoing != nil && incoming != nil)
        (outgoing, incoming) = (nil, nil)
        try await one.remove(job, generation(1))
        #expect(!FileManager.default.fileExists(atPath: scratch("two/\(job)")))
    }

    @Test("a job of which no checkpoint is left leaves no folder behind the next opening")
    func emptyFolder() async throws {
        do {
            let store = try store("store")
            _ = try await store.store(source(1, images: scratch("images")))
            try await store.remove(job, generation(1))
        }
        let again = try store("store")
        #expect(!FileManager.default.fileExists(atPath: scratch("store/\(job)")))
        _ = try await again.store(source(2, images: scratch("images")))
    }
}
