import Checkpointing
import Testing

@testable import ImageStore

/// Pages that go from node to node arrive as they were, or not at all.
struct PagePiecesTests {
    private static let pages: [UInt8] = (0..<200).flatMap { page in
        [UInt8](repeating: page % 5 == 0 ? 0 : UInt8(page), count: 4096)
    }

    @Test(arguments: [1, 64, 65, 200])
    func pagesComeAsTheyWere(_ count: Int) async throws {
        let bytes = Array(Self.pages[..<(count * 4096)])
        let pieces = try await PagePieces.encode { bytes }
        #expect(try await PagePieces.decode(pieces, byteCount: bytes.count) == bytes)
        #expect(pieces.reduce(0) { $0 + $1.stored.count } < max(1, bytes.count / 4))
    }

    @Test func whatIsDamagedOrBesideThePointIsRefused() async throws {
        let bytes = Self.pages
        let pieces = try await PagePieces.encode { bytes }
        var wrong: [[DumpPiece]] = [pieces, pieces, pieces]
        wrong[0][1].stored[3] ^= 1
        wrong[1][3].region.rawOffset = 900 * 4096
        wrong[2][3].region.pages = .max
        for pieces in wrong {
            await #expect(throws: ImageStoreError.self) {
                try await PagePieces.decode(pieces, byteCount: bytes.count)
            }
        }
    }
}
