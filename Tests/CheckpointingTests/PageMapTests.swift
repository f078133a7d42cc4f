import Checkpointing
import ClusterModel
import Testing

struct PageMapTests {
    /// The first bytes of a page map, and an inventory, as CRIU 4.2.1 wrote them.
    private static let map: [UInt8] = bytes(
        "1943565425400856" + "020000000801" + "0b0000000880a08002100020042801" + "0b000000088080a902100020042805"
            + "0b0000000880a0aa02100020062801" + "0b0000000880a0ab02100020062801" + "0b000000088080c33110002006 2804"
            + "0f0000000880c0b8f19feb1f1000200628fa01"
    )
    private static let inventory: [UInt8] = bytes(
        "163131584e000000080210011a18080110011801200128013002380340044806500758086005200128013000580062006a246239653534"
            + "6262652d386339612d346337632d613638642d373938373262646631333432"
    )

    private static func bytes(_ digits: String) -> [UInt8] {
        let digits = Array(digits.utf8.filter { $0 != 32 })
        return stride(from: 0, to: digits.count, by: 2).map { at in
            UInt8(String(decoding: digits[at...at + 1], as: UTF8.self), radix: 16) ?? 0
        }
    }

    /// A page map of these entries, each with address, pages and flags.
    static func encoded(pages number: UInt64 = 1, _ entries: [(UInt64, UInt64, UInt64)]) -> [UInt8] {
        func varint(_ value: UInt64) -> [UInt8] {
            var (value, bytes): (UInt64, [UInt8]) = (value, [])
            while value >= 0x80 {
                bytes.append(UInt8(value & 0x7F) | 0x80)
                value >>= 7
            }
            return bytes + [UInt8(value)]
        }
        func entry(_ fields: [(UInt64, UInt64)]) -> [UInt8] {
            let body = fields.flatMap { varint($0 << 3) + varint($1) }
            return (0..<4).map { UInt8(truncatingIfNeeded: body.count >> (8 * $0)) } + body
        }
        return bytes("1943565425400856") + entry([(1, number)])
            + entries.flatMap { entry([(1, $0.0), (2, 0), (4, $0.2), (5, $0.1)]) }
    }

    @Test("golden bytes: a page map of CRIU 4.2.1 is read")
    func golden() throws {
        let map = try PageMap.decode(name: "pagemap-1.img", Self.map)
        #expect(map.pagesFile == "pages-1.img")
        #expect(map.runs.map(\.pageCount) == [1, 5, 1, 1, 4, 250])
        #expect(map.runs.map(\.isDeferrable) == [false, false, true, true, true, true])
        #expect(map.runs[0].address == 4_198_400 && map.runs[5].address == 140024493252608)
        #expect(map.fileLength == 262 * 4096 && map.deferrableBytes == 256 * 4096)
        #expect(map.deferrableRanges == [6 * 4096..<262 * 4096])
        let memory = try DumpedMemory(
            files: ["inventory.img": Self.inventory, "pagemap-1.img": Self.map],
            sizes: ["pages-1.img": 262 * 4096]
        )
        #expect(memory.processes[1] == map && memory.deferrableBytes == 1 << 20)
    }

    @Test("each page is found where it is, and no other")
    func places() throws {
        let page: UInt64 = 4096
        let map = try PageMap.decode(
            name: "pagemap-7.img",
            Self.encoded([(4 * page, 2, 4), (6 * page, 3, 2), (100 * page, 4, 6)])
        )
        #expect(map.place(of: 3 * page, pageCount: 1) == nil)
        #expect(map.place(of: 4 * page, pageCount: 9) ?? (0, 0) == (0, 2))
        #expect(map.place(of: 5 * page, pageCount: 1) ?? (0, 0) == (page, 1))
        // Lazy, and not in the file: what a lazy dump leaves out.
        #expect(map.place(of: 6 * page, pageCount: 1) == nil)
        #expect(map.place(of: 102 * page, pageCount: 9) ?? (0, 0) == (4 * page, 2))
        #expect(map.place(of: 104 * page, pageCount: 1) == nil)
        #expect(map.place(of: .max - 4095, pageCount: 1) == nil)
        #expect(map.deferrableRanges == [2 * page..<6 * page])
    }

    @Test("the memory of several processes, and what they share, is kept apart")
    func processes() throws {
        let files = [
            "inventory.img": Self.inventory,
            "pagemap-1.img": Self.encoded(pages: 1, [(4096, 1, 6)]),
            "pagemap-42.img": Self.encoded(pages: 3, [(8192, 2, 6)]),
            "pagemap-shmem-5.img": Self.encoded(pages: 2, [(0, 8, 4)]),
        ]
        let sizes: [String: UInt64] = ["pages-1.img": 4096, "pages-2.img": 8 * 4096, "pages-3.img": 8192]
        let memory = try DumpedMemory(files: files, sizes: sizes)
        #expect(memory.processes.keys.sorted() == [1, 42])
        #expect(memory.deferrableRanges == ["pages-1.img": [0..<4096], "pages-3.img": [0..<8192]])
        for name in files.keys where name != "inventory.img" { #expect(DumpedMemory.isWanted(name)) }
        #expect(!DumpedMemory.isWanted("pages-1.img") && !DumpedMemory.isWanted("mm-1.img"))
    }

    @Test("what does not fit the rest is refused, and the file named")
    func inconsistent() {
        func refuses(
            _ files: [String: [UInt8]],
            _ sizes: [String: UInt64],
            naming place: String,
            line: SourceLocation = #_sourceLocation
        ) {
            let error = #expect(throws: CRIUImageError.self, sourceLocation: line) {
                try DumpedMemory(files: files, sizes: sizes)
            }
            #expect(error?.place.hasPrefix(place) == true, "\(error as Any)", sourceLocation: line)
        }
        let (one, inventory) = (Self.encoded([(4096, 1, 6)]), Self.inventory)
        refuses(["pagemap-1.img": one], ["pages-1.img": 4096], naming: "inventory.img")
        refuses(["inventory.img": one, "pagemap-1.img": one], ["pages-1.img": 4096], naming: "inventory.img")
        refuses(["inventory.img": inventory, "pagemap-1.img": one], [:], naming: "pagemap-1.img")
        refuses(["inventory.img": inventory, "pagemap-1.img": one], ["pages-1.img": 8192], naming: "pagemap-1.img")
        refuses(
            ["inventory.img": inventory, "pagemap-1.img": one, "pagemap-2.img": one],
            ["pages-1.img": 4096],
            naming: "pagemap-2.img"
        )
        var later = inventory
        later[9] = 9
        refuses(["inventory.img": later], [:], naming: "inventory.img, entry 1")
    }

    @Test("entries that no address space has are refused by their number")
    func entries() {
        for bad: [(UInt64, UInt64, UInt64)] in [
            [(4096, 1, 6), (4096, 1, 6)], [(8192, 1, 6), (4096, 1, 6)], [(4096, 2, 6), (8192, 1, 6)],
            [(0, 0, 6), (1, 1, 6)],
            [(4096, 1, 6), (1, 1, 6)], [(0, 1, 6), (.max - 4095, 2, 6)], [(0, 1, 6), (4096, .max, 6)],
            [(0, 1, 6), (4096, 1, 1)],
        ] {
            let error = #expect(throws: CRIUImageError.self) { try PageMap.decode(name: "m", Self.encoded(bad)) }
            #expect(error?.place == "m, entry \(bad[0].1 == 0 ? 2 : 3)")
        }
        #expect(throws: CRIUImageError.self) { try PageMap.decode(name: "m", Self.encoded(pages: 1 << 40, [])) }
    }

    @Test("every truncation is refused, or is a map that ends earlier")
    func truncation() {
        for count in 0..<Self.map.count {
            guard let map = try? PageMap.decode(name: "m", Array(Self.map.prefix(count))) else { continue }
            #expect(map.runs.count < 6)
        }
    }

    @Test("any bytes are refused or a consistent map", arguments: 1...8 as ClosedRange<UInt64>)
    func fuzz(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        for _ in 0..<3000 {
            var bytes = Self.map
            for _ in 0..<Int.random(in: 1...4, using: &generator) {
                let at = Int.random(in: 0..<bytes.count, using: &generator)
                switch Int.random(in: 0..<4, using: &generator) {
                case 0: bytes[at] = .random(in: 0...255, using: &generator)
                case 1: bytes[at] = 255
                case 2: bytes.remove(at: at)
                default: bytes.insert(.random(in: 0...255, using: &generator), at: at)
                }
            }
            guard let map = try? PageMap.decode(name: "m", bytes) else { continue }
            var (end, offset): (UInt64, UInt64) = (0, 0)
            for run in map.runs {
                #expect(run.address >= end && run.offset == offset && run.pageCount > 0)
                end = run.address + run.byteCount
                if run.flags.contains(.present) { offset += run.byteCount }
            }
            #expect(map.fileLength == offset)
        }
    }
}
