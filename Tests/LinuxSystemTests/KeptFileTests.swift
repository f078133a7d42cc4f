import LinuxSystem
import Testing

@Suite struct KeptFileTests {
    @Test func `every reading is of the present content`() throws {
        let folder = try TemporaryFolder()
        try FileSystem.writeAtomically("first", to: folder("f"))
        let file = try KeptFile(folder("f"))
        var buffer = [UInt8](repeating: 0, count: 8)
        #expect(try file.read(into: &buffer) == 5)
        try FileSystem.writeValue("2nd", to: folder("f"))
        #expect(try file.read(into: &buffer) == 3)
        #expect(String(decoding: buffer.prefix(3), as: UTF8.self) == "2nd")
    }

    @Test func `a file that this kernel lacks is nil, another failure is an error`() throws {
        #expect(try KeptFile.ifPresent("/absent")?.path == nil)
        #expect(try KeptFile.ifPresent(nil)?.path == nil)
        let folder = try TemporaryFolder()
        try FileSystem.writeAtomically("", to: folder("f"))
        #expect(throws: SystemError.self) { try KeptFile.ifPresent(folder("f/below")) }
    }
}
