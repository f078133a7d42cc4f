import Testing

@testable import LinuxSystem

@Suite struct ProcessMemoryTests {
    @Test func `only code of files is let go of`() {
        let maps = """
            55d0-55e0 r--p 00000000 fe:00 5441771    /usr/bin/godwitd
            55e000-5600000 r-xp 00010000 fe:00 5441771    /usr/bin/godwitd
            5600000-5700000 rw-p 02acf000 fe:00 5441771    /usr/bin/godwitd
            7ffe000-7fff000 r-xp 00000000 00:00 0    [vdso]
            8000000-8001000 r-xp 00000000 00:00 0
            9000000-9001000 r-xs 00000000 fe:00 12    /shared
            nonsense
            """
        #expect(ProcessMemory.executableFileRanges(maps) == [0x55e000..<0x5600000])
    }

    @Test func `the program goes on with less memory`() throws {
        func resident() throws -> Int {
            let text = try FileSystem.readText("/proc/self/status")
            let line = try #require(text.split(separator: "\n").first { $0.hasPrefix("RssFile:") })
            return try #require(line.split(separator: " ").compactMap { Int($0) }.first)
        }
        // Other tests of this process fault code in meanwhile, so one try may see less than it let go of.
        var seen: [(before: Int, after: Int)] = []
        for _ in 0..<20 {
            let before = try resident()
            #expect(ProcessMemory.releaseStartPages() > 1 << 20)
            seen.append((before, try resident()))
        }
        #expect(seen.contains { $0.after < $0.before }, "KiB of files: \(seen)")
    }
}
