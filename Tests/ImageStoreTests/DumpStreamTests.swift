import Checkpointing
import ClusterModel
import Foundation
import ImageStore
import Testing

/// A dump crosses to another folder whole, or not at all.
struct DumpStreamTests {
    private func folder() throws -> URL {
        let folder = FileManager.default.temporaryDirectory.appending(path: "godwit-dump-\(UUID().uuidString)")
        try FileManager.default.createDirectory(
            at: folder.appending(path: "images/inner"),
            withIntermediateDirectories: true
        )
        return folder
    }

    /// Random bytes with holes, an empty file, a small one in a folder, and an archive.
    private func fill(_ folder: URL) throws {
        var generator = SeededGenerator(seed: 7)
        var bytes = [UInt8](repeating: 0, count: 3 << 20)
        for at in stride(from: 0, to: bytes.count, by: 4096) where generator.next() % 3 > 0 {
            for offset in at..<at + 4096 { bytes[offset] = UInt8(truncatingIfNeeded: generator.next()) }
        }
        let pages = Data(bytes)
        try pages.write(to: folder.appending(path: "images/pages-1.img"))
        try Data().write(to: folder.appending(path: "images/empty.img"))
        try Data("core".utf8).write(to: folder.appending(path: "images/inner/core.img"))
        try pages.dropFirst(1 << 20).write(to: folder.appending(path: "layer.tar"))
    }

    private func path(_ folder: URL, _ name: String) -> String { folder.appending(path: name).path() }

    @Test func aDumpArrivesAsItLeftAlsoInParts() async throws {
        let (from, to) = (try folder(), try folder())
        defer { for folder in [from, to] { try? FileManager.default.removeItem(at: folder) } }
        try fill(from)
        let reader = try DumpReader(imagesFolder: path(from, "images"), layerArchive: path(from, "layer.tar"))
        let writer = try DumpWriter(
            reader.files,
            imagesFolder: path(to, "images"),
            layerArchive: path(to, "layer.tar")
        )
        var at = 0
        while at < reader.regionCount {
            try await writer.write(try await reader.pieces(from: at, count: 3))
            at += 3
        }
        for name in ["images/pages-1.img", "images/empty.img", "images/inner/core.img", "layer.tar"] {
            #expect(
                try Data(contentsOf: from.appending(path: name)) == Data(contentsOf: to.appending(path: name)),
                "\(name)"
            )
        }
    }

    @Test func whatIsNotWhatWasReadIsRefused() async throws {
        let (from, to) = (try folder(), try folder())
        defer { for folder in [from, to] { try? FileManager.default.removeItem(at: folder) } }
        try fill(from)
        let reader = try DumpReader(imagesFolder: path(from, "images"), layerArchive: nil)
        let writer = try DumpWriter(reader.files, imagesFolder: path(to, "images"), layerArchive: path(to, "layer.tar"))
        let pieces = try await reader.pieces(from: 0, count: 100)
        let piece = try #require(pieces.last)
        var spoiled: [DumpPiece] = []
        for change in [
            { (piece: inout DumpPiece) in piece.stored[0] ^= 1 },
            { $0.file = 99 },
            { $0.region.rawOffset = 1 << 40 },
            { $0.region.rawLength = 1 << 40 },
            {
                $0.region.pages = .max; $0.region.rawLength = 5000
            },
        ] as [(inout DumpPiece) -> Void] {
            var one = piece
            change(&one)
            spoiled.append(one)
        }
        for one in spoiled {
            await #expect(throws: ImageStoreError.self) { try await writer.write([one]) }
        }
    }

    @Test func namesThatLeaveTheFolderAreRefused() throws {
        let to = try folder()
        defer { try? FileManager.default.removeItem(at: to) }
        for name in ["../x", "/x", "a/../../x", ""] {
            let file = DumpFile(name: name, kind: .image, mode: 0o600, size: 1)
            #expect(throws: ImageStoreError.self) {
                try DumpWriter([file], imagesFolder: path(to, "images"), layerArchive: path(to, "layer.tar"))
            }
        }
    }
}
