import ClusterModel
import Glibc
import LinuxSystem
import ResourceSamples
import Synchronization

/// A folder that is gone when the test is over.
final class TemporaryFolder: Sendable {
    let path: String
    private static let counter = Atomic<Int>(0)

    init() throws {
        let number = Self.counter.add(1, ordering: .relaxed).newValue
        path = "/tmp/godwit-test-\(getpid())-\(number)"
        try FileSystem.createFolder(path)
    }

    deinit { try? FileSystem.removeAll(path) }

    func callAsFunction(_ name: String) -> String { "\(path)/\(name)" }
}

/// Kernel texts that ResourceSamplesTests keeps.
func fixture(_ name: String) throws -> String {
    let tests = FileSystem.parent(of: FileSystem.parent(of: #filePath))
    return try FileSystem.readText("\(tests)/ResourceSamplesTests/Fixtures/\(name)")
}

/// Runs the body in a slice of its own on this machine's real hierarchies, and removes all of it afterwards, whatever happens.
func withSlice(_ body: (CgroupSlice) async throws -> Void) async throws {
    let slice = try CgroupSlice(
        in: .detect(),
        path: "/godwit-test-\(getpid())-\(sliceCounter.add(1, ordering: .relaxed).newValue)"
    )
    try slice.setUp()
    do {
        try await body(slice)
    } catch {
        try await tearDown(slice)
        throw error
    }
    try await tearDown(slice)
}

private let sliceCounter = Atomic<Int>(0)

private func tearDown(_ slice: CgroupSlice) async throws {
    for name in try slice.names() {
        guard let cgroup = try slice.open(name) else { continue }
        try? cgroup.thaw()
        try await cgroup.kill()
        try await cgroup.remove()
    }
    try await slice.remove()
}

/// Starts a shell script whose process waits until it is in the cgroup.
func start(_ script: String, in cgroup: Cgroup) throws -> Int32 {
    let gate = try OwnedDescriptor.pipe()
    let pid = try ProcessRunner.spawn(
        ProgramCommand("/bin/sh", ["-c", "read line; exec \(script)"]),
        standardInput: gate.reading.rawValue
    )
    try cgroup.add(process: pid)
    try gate.writing.write([10])
    return pid
}

/// Something that happens once and that others look for.
final class Event: Sendable {
    private let state = Atomic<Bool>(false)
    var hasHappened: Bool { state.load(ordering: .sequentiallyConsistent) }
    func happen() { state.store(true, ordering: .sequentiallyConsistent) }
}

/// Asks until the answer is yes; a test fails where it asks, not here.
func eventually(within limit: Duration = .seconds(60), _ condition: () throws -> Bool) async rethrows -> Bool {
    let start = MonotonicClock.nanoseconds()
    while try !condition() {
        if .nanoseconds(MonotonicClock.nanoseconds() - start) > limit { return false }
        MonotonicClock.sleepThread(for: .milliseconds(1))
        await Task.yield()
    }
    return true
}
