import Checkpointing
import ClusterModel
import Testing

struct PageAlignmentTests {
    private static let page: UInt64 = 4096

    /// One process whose runs begin at these pages of its address space.
    private func memory(
        _ number: UInt64,
        _ runs: [(first: UInt64, count: UInt64, present: Bool)]
    ) throws -> DumpedMemory {
        let entries = runs.map { ($0.first * Self.page, $0.count, UInt64($0.present ? 4 : 2)) }
        let bytes: [UInt8] = [0x16, 0x31, 0x31, 0x58, 2, 0, 0, 0, 0x08, 2]
        return try DumpedMemory(
            files: ["inventory.img": bytes, "pagemap-7.img": PageMapTests.encoded(pages: number, entries)],
            sizes: ["pages-\(number).img": runs.reduce(0) { $0 + ($1.present ? $1.count * Self.page : 0) }]
        )
    }

    @Test("pages are found by their address, joined where they lie side by side, and clipped")
    func runs() throws {
        let earlier = try memory(3, [(10, 5, true), (15, 5, true), (20, 5, false), (40, 10, true)])
        let now = try memory(4, [(8, 20, true), (45, 20, true)])
        let alignment = PageAlignment(now, earlier: earlier)
        func run(_ offset: UInt64, _ before: UInt64, _ count: UInt64) -> PageAlignment.Run {
            PageAlignment.Run(
                offset: offset * Self.page,
                earlierFile: "pages-3.img",
                earlierOffset: before * Self.page,
                byteCount: count * Self.page
            )
        }
        #expect(alignment.runs(of: "pages-4.img", in: 0..<1000 * Self.page) == [run(2, 0, 10), run(20, 15, 5)])
        #expect(
            alignment.runs(of: "pages-4.img", in: 5 * Self.page..<22 * Self.page) == [run(5, 3, 7), run(20, 15, 2)]
        )
        #expect(alignment.runs(of: "pages-4.img", in: 12 * Self.page..<20 * Self.page) == [])
        #expect(alignment.runs(of: "pages-3.img", in: 0..<Self.page) == nil)
    }

    @Test("page by page the same as looking each address up", arguments: 1...30 as ClosedRange<UInt64>)
    func random(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        func random(_ number: UInt64) throws -> DumpedMemory {
            var (at, runs): (UInt64, [(first: UInt64, count: UInt64, present: Bool)]) = (1, [])
            for _ in 0..<Int.random(in: 1...20, using: &generator) {
                at += UInt64.random(in: 0...5, using: &generator)
                let count = UInt64.random(in: 1...9, using: &generator)
                runs.append((at, count, Bool.random(using: &generator)))
                at += count
            }
            return try memory(number, runs)
        }
        let (earlier, now) = (try random(1), try random(2))
        let alignment = PageAlignment(now, earlier: earlier)
        var found: [UInt64: UInt64] = [:]
        for run in alignment.runs(of: "pages-2.img", in: 0..<1 << 30) ?? [] {
            for page in 0..<run.byteCount / Self.page {
                found[run.offset / Self.page + page] = run.earlierOffset / Self.page + page
            }
        }
        var expected: [UInt64: UInt64] = [:]
        for page in 0..<400 as Range<UInt64> {
            guard let here = now.processes[7]?.place(of: page * Self.page, pageCount: 1),
                let there = earlier.processes[7]?.place(of: page * Self.page, pageCount: 1)
            else { continue }
            expected[here.offset / Self.page] = there.offset / Self.page
        }
        #expect(found == expected)
    }
}
