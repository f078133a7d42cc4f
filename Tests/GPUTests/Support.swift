import Glibc
import LinuxSystem
import Synchronization
import Testing

/// A folder that is gone when the test is over.
final class TemporaryFolder: Sendable {
    let path: String
    private static let counter = Atomic<Int>(0)

    init() throws {
        let number = Self.counter.add(1, ordering: .relaxed).newValue
        path = "/tmp/godwit-gpu-test-\(getpid())-\(number)"
        try FileSystem.createFolder(path)
    }

    deinit { try? FileSystem.removeAll(path) }

    func callAsFunction(_ name: String) -> String { "\(path)/\(name)" }

    /// Writes a file and the folders above it.
    func write(_ name: String, _ text: String, mode: UInt32 = 0o644) throws {
        try FileSystem.createFolder(FileSystem.parent(of: self(name)))
        try FileSystem.writeAtomically(text, to: self(name), mode: mode)
    }

    /// Compiles the stand-in for the driver's library with these macros.
    func stub(_ macros: String...) throws -> String {
        let source = FileSystem.parent(of: #filePath) + "/Stub/nvml_stub.c"
        let library = self("libnvidia-ml.so.1")
        let compiler = try #require(
            ProcessRunner.find("clang") ?? ProcessRunner.find("cc"),
            "these tests need clang or cc"
        )
        let result = try ProcessRunner.runBlocking(
            ProgramCommand(compiler, ["-shared", "-fPIC", "-w", "-o", library, source] + macros.map { "-D" + $0 }),
            timeout: .seconds(60)
        )
        try #require(result.isSuccess, "\(result.complaint)")
        return library
    }
}
