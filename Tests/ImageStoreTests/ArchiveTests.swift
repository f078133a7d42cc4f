import Checkpointing
import ClusterModel
import Foundation
import Testing

@testable import ImageStore

/// Checkpoints as tars: out of one cluster and into another, and nothing else than what was exported.
struct ArchiveTests {
    let scratch: Scratch
    static let document = Array("{\"name\": \"counting\"}\n".utf8)

    init() throws {
        scratch = try Scratch()
        try scratch.write(text(700_000), to: "images/a.img")
        try scratch.write(noise(300_000, seed: 5), to: "images/b.img")
        try scratch.write([UInt8](repeating: 0, count: 600_000) + [1], to: "images/deep/c.img")
        try scratch.write(text(5000), to: "layer.tar")
    }

    func store(_ name: String, seed: UInt64? = nil) throws -> ImageStore {
        let keys: [UInt64: [UInt8]] = seed.map { [7: noise(32, seed: $0)] } ?? [:]
        return try ImageStore(folder: scratch(name), configuration: plain, keychain: CheckpointKeychain(keys))
    }

    func exported(_ store: ImageStore) async throws -> [UInt8] {
        let record = try await store.store(source(3, images: scratch("images"), layer: scratch("layer.tar")))
        let archive = try await store.export(
            job,
            record.generation,
            description: Array("{}\n".utf8),
            document: Self.document
        )
        var tar: [UInt8] = []
        while true {
            let piece = try await archive.next()
            if piece.isEmpty { break }
            tar += piece
        }
        #expect(UInt64(tar.count) == archive.byteCount)
        return tar
    }

    func received(_ tar: [UInt8], by store: ImageStore, pieces: Int = 70_001) async throws -> ArchivedImage {
        let archive = try await store.receiveArchive()
        for start in stride(from: 0, to: tar.count, by: pieces) {
            try await archive.write(Array(tar[start..<min(start + pieces, tar.count)]))
        }
        return archive
    }

    func isEmpty(_ store: ImageStore) async throws -> Bool {
        let spooled = (try? FileManager.default.contentsOfDirectory(atPath: store.arrivals)) ?? []
        return try await store.jobs().isEmpty && spooled.isEmpty
    }

    @Test("a checkpoint of one cluster becomes one of a job in another, byte for byte", arguments: [nil, 1])
    func roundTrip(seed: UInt64?) async throws {
        let tar = try await exported(try store("a", seed: seed))
        let other = try store("b", seed: 2)
        let archive = try await received(tar, by: other)
        let content = try await archive.finish()
        #expect(content.document == Self.document && content.record.generation == generation(3))
        let owner = JobID(rawValue: "anotherjob12")
        let record = try await archive.adopt(as: owner, generation(1), incarnation: Incarnation(rawValue: 1))
        #expect(record.seal?.key == 7 && record.job == owner && record.ledger == .seconds(3))
        #expect(try await other.generations(of: owner) == [record])
        try await other.extract(owner, generation(1), to: scratch("out"), layerArchive: scratch("out.tar"))
        #expect(try Tree(scratch("out")) == Tree(scratch("images")))
        #expect(try Data(contentsOf: URL(filePath: scratch("out.tar"))).elementsEqual(text(5000)))
    }

    @Test("the tar is one that other programs read, and its checksums are right")
    func otherPrograms() async throws {
        let tar = try await exported(try store("a", seed: 1))
        try scratch.write(tar, to: "x.tar")
        let process = Process()
        process.executableURL = URL(filePath: "/bin/sh")
        process.arguments = [
            "-c", "cd '\(scratch.path)' && tar xf x.tar && sha256sum --quiet -c SHA256SUMS && ls -l data",
        ]
        let output = Pipe()
        process.standardOutput = output
        try process.run()
        process.waitUntilExit()
        #expect(process.terminationStatus == 0)
        #expect(
            String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self).hasPrefix("-rw-------")
        )
    }

    @Test("a tar that was cut off anywhere is refused, and nothing of it stays")
    func truncated() async throws {
        let tar = try await exported(try store("a"))
        let other = try store("b", seed: 2)
        for end in [0, 300, 512, 2000, tar.count / 2, tar.count - 1500] {
            let error = await storeError {
                try await received(Array(tar[..<end]), by: other).finish()
            }
            #expect(error?.code == .damaged && error?.message.contains("cut off") == true, "\(end): \(error as Any)")
        }
        #expect(try await isEmpty(other))
    }

    @Test("a tar with any byte changed is refused or says the same, and nothing of it stays")
    func changed() async throws {
        let tar = try await exported(try store("a"))
        let other = try store("b", seed: 2)
        var generator = SeededGenerator(seed: 11)
        var refused = 0
        for _ in 0..<60 {
            var bad = tar
            bad[Int(generator.next() % UInt64(tar.count))] ^= 1 << UInt8(generator.next() % 8)
            do {
                let archive = try await received(bad, by: other)
                _ = try await archive.finish()
                // What is not under a checksum says nothing: times, owners, padding.
                _ = try await archive.adopt(as: job, generation(1), incarnation: Incarnation(rawValue: 1))
                try await other.removeAll(of: job)
            } catch let error as ImageStoreError {
                #expect(error.code == .damaged, "\(error)")
                refused += 1
            }
        }
        #expect(refused > 40)
        #expect(try await isEmpty(other))
    }

    @Test("what another program wrote, and files in another order, are refused by name")
    func foreign() async throws {
        let other = try store("b", seed: 2)
        let letter =
            TarHeader(name: "letter.txt", size: 5).encoded() + Array("hello".utf8) + [UInt8](repeating: 0, count: 507)
        let first = await storeError { try await received(letter + TarHeader.end, by: other).finish() }
        #expect(first?.message.contains("'letter.txt'") == true && first?.message.contains("did not write it") == true)
        let noTar = await storeError { try await received(noise(4096, seed: 3), by: other).finish() }
        #expect(noTar?.message.contains("not a tar") == true)
        let good = try await exported(try store("c"))
        for size in [1 << 40, 1 << 62, UInt64(Int64.max)] {
            let data = TarHeader(name: ArchiveEntry.data.rawValue, size: size).encoded()
            let begin = try #require(
                stride(from: 0, to: good.count, by: 512).first { good[$0...].starts(with: Array("data\0".utf8)) }
            )
            let huge = await storeError { try await received(Array(good[..<begin]) + data, by: other).finish() }
            #expect(huge?.code == .noSpace, "\(huge as Any)")
        }
        let tar = try await exported(try store("a"))
        let swapped = Array(tar[..<1024]) + Array(tar[2048...])
        let error = await storeError { try await received(swapped, by: other).finish() }
        #expect(error?.code == .damaged, "\(error as Any)")
        #expect(try await isEmpty(other))
    }

    @Test("data of another checkpoint under the right names and checksums is refused")
    func exchanged() async throws {
        let mine = try store("a")
        let tar = try await exported(mine)
        try scratch.write(noise(300_000, seed: 6), to: "images/b.img")
        _ = try await mine.store(source(4, images: scratch("images"), layer: scratch("layer.tar")))
        func archive(_ index: [UInt8], _ data: [UInt8]) throws -> [UInt8] {
            var bytes: [UInt8] = []
            var sums = ""
            for (entry, content) in [
                (ArchiveEntry.description, Array("{}\n".utf8)), (.job, Self.document), (.data, data), (.index, index),
            ] {
                bytes += TarHeader(name: entry.rawValue, size: UInt64(content.count)).encoded() + content
                bytes += [UInt8](repeating: 0, count: TarHeader.padding(after: UInt64(content.count)))
                sums += "\(try ImageSealing.digest(of: content))  \(entry.rawValue)\n"
            }
            bytes +=
                TarHeader(name: ArchiveEntry.sums.rawValue, size: UInt64(sums.utf8.count)).encoded() + Array(sums.utf8)
            return bytes + [UInt8](repeating: 0, count: TarHeader.padding(after: UInt64(sums.utf8.count)))
                + TarHeader.end
        }
        func file(_ name: String) throws -> [UInt8] { Array(try Data(contentsOf: URL(filePath: scratch(name)))) }
        let index = try file("a/\(job)/3/index")
        let data = try file("a/\(job)/3/data")
        let other = try store("b", seed: 2)
        let good = try await received(try archive(index, data), by: other)
        _ = try await good.finish()
        #expect(!tar.isEmpty)
        let error = await storeError {
            let bad = try await received(try archive(index, try file("a/\(job)/4/data")), by: other)
            _ = try await bad.finish()
            return try await bad.adopt(as: job, generation(1), incarnation: Incarnation(rawValue: 1))
        }
        #expect(error?.code == .damaged, "\(error as Any)")
        #expect(try await other.generations(of: job).isEmpty)
        #expect(!FileManager.default.fileExists(atPath: scratch("b/\(job)")))
    }

    @Test("damage is named region by region, and reading goes on behind it")
    func examined() async throws {
        let store = try store("a", seed: 1)
        _ = try await store.store(source(1, images: scratch("images")))
        #expect(try await store.examine(job, generation(1)) == ImageExamination())
        let index = try await store.inspect(job, generation(1))
        let path = scratch("a/\(job)/1/data")
        var bytes = Array(try Data(contentsOf: URL(filePath: path)))
        let regions = try #require(index.files.first { $0.name == "a.img" }).regions
        for number in [0, 2] { bytes[Int(regions[number].storedOffset) + 5] ^= 1 }
        try Data(bytes).write(to: URL(filePath: path))
        let found = try await store.examine(job, generation(1))
        #expect(found.damaged.map(\.region) == [0, 2] && found.damagedCount == 2)
        #expect(found.damaged.allSatisfy { $0.file == "a.img" } && found.problem?.contains("region 0 of a.img") == true)
    }
}
