import ClusterModel
import Glibc
import LinuxSystem
import Synchronization

/// The peer: one container at a time, by plain runc, from the very bundle that Godwit made for its own.
///
/// Configuration, root file system and overlay options are the same; only paths and the cgroup's name differ. Mounting the overlay is
/// done once and counts for nobody but Godwit.
struct PlainContainer: Sendable {
    static let id = "plain"

    private let runc: String
    private let root: String
    private let folder: String
    private let searchPath: String
    /// What the container prints; kept open here for writing too, so that it never ends.
    let output: OutputPipe

    /// Copies the bundle of a container's folder, as `Containers` lays it out.
    init(copying container: String, of context: BenchmarkContext, image: String) throws {
        guard let runc = ProcessRunner.find("runc", in: context.searchPath) else {
            throw BenchmarkFailure("runc is not installed; on Debian: apt-get install runc")
        }
        self.runc = runc
        searchPath = context.searchPath
        root = context.runtimeFolder + "/plain"
        folder = context.folder + "/plain"
        output = try OutputPipe()
        for part in ["bundle/rootfs", "layer/upper", "layer/work", "layer/skeleton/etc", "etc"] {
            try FileSystem.createFolder("\(folder)/\(part)")
        }
        for part in ["proc", "sys", "dev"] { try FileSystem.createFolder("\(folder)/layer/skeleton/\(part)") }
        for file in ["hosts", "resolv.conf", "hostname"] {
            try FileSystem.writeAtomically(try FileSystem.read("\(container)/etc/\(file)"), to: "\(folder)/etc/\(file)")
            try FileSystem.writeAtomically([], to: "\(folder)/layer/skeleton/etc/\(file)")
        }
        try FileSystem.writeAtomically(try FileSystem.read("\(container)/criu.conf"), to: "\(folder)/criu.conf")
        let name = String(container.split(separator: "/").last ?? "")
        let configuration = try FileSystem.readText("\(container)/bundle/config.json")
            .replacing("\\/", with: "/")
            .replacing(container, with: folder)
            .replacing("\(context.cgroupParent)/\(name)", with: "\(context.cgroupParent)/\(Self.id)")
        try FileSystem.writeAtomically(configuration, to: "\(folder)/bundle/config.json")
        try Mounts.overlay(
            on: "\(folder)/bundle/rootfs",
            lower: [image, "\(folder)/layer/skeleton"],
            upper: "\(folder)/layer/upper",
            work: "\(folder)/layer/work",
            extraOptions: ["volatile", "index=off", "metacopy=off", "redirect_dir=off", "xino=off"]
        )
    }

    /// `runc run --detach`; returns how long it took.
    @discardableResult
    func start() throws -> Duration { try measure(["run", "--detach", "--bundle", "\(folder)/bundle", Self.id]) }

    /// `runc delete --force`.
    func remove() throws { try measure(["delete", "--force", Self.id]) }

    /// Makes room for the next one, when the container is removed.
    func removeFolder() throws {
        try Mounts.unmount("\(folder)/bundle/rootfs", isLazy: true)
        try FileSystem.removeAll(folder)
    }

    /// `runc update` of CPU shares and quota; returns how long it took.
    func update(shares: Int, quota: Int) throws -> Duration {
        try measure([
            "update", "--cpu-share", "\(shares)", "--cpu-quota", "\(quota)", "--cpu-period", "100000", Self.id,
        ])
    }

    /// `runc checkpoint` into an empty folder; returns how long it took.
    func checkpoint(to images: String, leavesRunning: Bool) throws -> Duration {
        try FileSystem.removeAll(images)
        try FileSystem.createFolder(images, mode: 0o700)
        return try measure(
            ["checkpoint", "--image-path", images, "--work-path", "\(folder)/criu", "--file-locks"]
                + (leavesRunning ? ["--leave-running"] : []) + [Self.id]
        )
    }

    /// `runc restore --detach`; returns how long it took.
    func restore(from images: String) throws -> Duration {
        try measure(
            [
                "restore", "--detach", "--image-path", images, "--work-path", "\(folder)/criu", "--file-locks",
                "--bundle", "\(folder)/bundle", Self.id,
            ]
        )
    }

    /// Runs runc to its end on this thread: nothing else of this program is to run meanwhile.
    @discardableResult
    private func measure(_ arguments: [String]) throws -> Duration {
        let log = "\(folder)/runc.log"
        let began = MonotonicClock.nanoseconds()
        let pid = try ProcessRunner.spawn(
            ProgramCommand(
                runc,
                ["--root", root, "--log", log] + arguments,
                environment: ["PATH=\(searchPath)", "HOME=/root"]
            ),
            standardOutput: output.writing,
            standardError: output.writing
        )
        let exit = try ProcessControl.waitForChild(pid)
        let took = Duration.nanoseconds(MonotonicClock.nanoseconds() - began)
        guard exit.isSuccess else {
            let words = (try? FileSystem.readText(log, limit: 1 << 20)) ?? ""
            let said = (words.isEmpty ? output.lines.joined(separator: "\n") : words).split(separator: "\n").last ?? ""
            throw BenchmarkFailure("runc \(arguments[0]): \(exit), \(said)")
        }
        return took
    }
}

/// A pipe of which everything is kept that was written into it.
final class OutputPipe: Sendable {
    let writing: Int32
    private let reading: Int32
    private let kept = Mutex<[UInt8]>([])

    init() throws {
        var ends: [Int32] = [-1, -1]
        guard unsafe pipe(&ends) == 0 else { throw BenchmarkFailure("there is no pipe (errno \(errno))") }
        (reading, writing) = (ends[0], ends[1])
        guard fcntl(reading, F_SETFL, O_NONBLOCK) == 0 else { throw BenchmarkFailure("fcntl: errno \(errno)") }
    }

    deinit {
        close(reading)
        close(writing)
    }

    /// All lines that have been written so far.
    var lines: [String] {
        var buffer = [UInt8](repeating: 0, count: 65536)
        return kept.withLock { kept in
            while true {
                let count = unsafe read(reading, &buffer, buffer.count)
                guard count > 0 else { break }
                kept += buffer[..<count]
            }
            return String(decoding: kept, as: UTF8.self).split(separator: "\n").map(String.init)
        }
    }
}

/// When a container's program could not run, as its own clock told it.
struct Gap: Sendable {
    /// Seconds of the wall clock.
    var end: Double
    var length: Double

    /// Reads a line "gap END LENGTH".
    init?(_ line: String) {
        let words = line.split(separator: " ")
        guard words.count == 3, words[0] == "gap", let end = Double(words[1]), let length = Double(words[2]) else {
            return nil
        }
        (self.end, self.length) = (end, length)
    }
}
