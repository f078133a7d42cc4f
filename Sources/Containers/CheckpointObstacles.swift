internal import ClusterModel
internal import Glibc
internal import LinuxSystem

/// Looks into a running container for what CRIU would fail on, so that it is said before and not after.
struct ObstacleSearch {
    let processes: [Int32]
    let tcpEstablished: Bool

    func run() -> [CheckpointObstacle] {
        var obstacles: [CheckpointObstacle] = []
        var sockets: [UInt64: Int32] = [:]
        for process in processes {
            var kinds: Set<CheckpointObstacle.Kind> = []
            for target in Self.descriptors(of: process) {
                if let inode = Self.socketInode(target) {
                    sockets[inode] = process
                } else if let obstacle = Self.obstacle(target, of: process), kinds.insert(obstacle.kind).inserted {
                    obstacles.append(obstacle)
                }
            }
            if let obstacle = tracer(of: process) { obstacles.append(obstacle) }
        }
        if !tcpEstablished, let obstacle = connection(sockets) { obstacles.append(obstacle) }
        if let obstacle = externalSocket(sockets) { obstacles.append(obstacle) }
        return obstacles
    }

    private static func obstacle(_ target: String, of process: Int32) -> CheckpointObstacle? {
        if target.hasPrefix("anon_inode:[io_uring]") {
            return CheckpointObstacle(
                kind: .ioUring,
                process: process,
                reason: "Process \(process) uses io_uring, which CRIU cannot keep.",
                remedy: "Switch io_uring off in the program."
            )
        }
        if ["/dev/nvidia", "/dev/dri/", "/dev/kfd"].contains(where: target.hasPrefix) {
            return CheckpointObstacle(
                kind: .gpuDevice,
                process: process,
                reason: "Process \(process) has the GPU open (\(target)).",
                remedy:
                    "A container that uses a GPU cannot be checkpointed yet; let the program write its own checkpoints."
            )
        }
        return nil
    }

    private func tracer(of process: Int32) -> CheckpointObstacle? {
        guard let status = try? FileSystem.readText("/proc/\(process)/status"),
            let line = status.split(separator: "\n").first(where: { $0.hasPrefix("TracerPid:") }),
            let tracer = line.split(whereSeparator: \.isWhitespace).last.flatMap({ Int32($0) }), tracer != 0
        else { return nil }
        return CheckpointObstacle(
            kind: .debugger,
            process: process,
            reason: "Process \(process) is being traced by process \(tracer).",
            remedy: "Detach the debugger and try again."
        )
    }

    /// A TCP socket of the container that is neither listening nor closed (proc_net_tcp.txt).
    private func connection(_ sockets: [UInt64: Int32]) -> CheckpointObstacle? {
        guard !sockets.isEmpty, let first = processes.first else { return nil }
        for file in ["tcp", "tcp6"] {
            guard let text = try? FileSystem.readText("/proc/\(first)/net/\(file)", limit: 64 << 20) else { continue }
            for line in text.split(separator: "\n").dropFirst() {
                let words = line.split(separator: " ")
                guard words.count > 9, words[3] != "0A", words[3] != "07", let inode = UInt64(words[9]),
                    let process = sockets[inode]
                else { continue }
                return CheckpointObstacle(
                    kind: .establishedTCP,
                    process: process,
                    reason: "Process \(process) has an established TCP connection.",
                    remedy:
                        "Allow it with `checkpoint.tcpEstablished: true`, or let the program close its connections first."
                )
            }
        }
        return nil
    }

    private func externalSocket(_ sockets: [UInt64: Int32]) -> CheckpointObstacle? {
        guard !sockets.isEmpty, let peers = UnixSocketPeers.all() else { return nil }
        for (inode, process) in sockets.sorted(by: { $0.key < $1.key }) {
            guard let number = UInt32(exactly: inode), let peer = peers[number], peer != 0, sockets[UInt64(peer)] == nil
            else { continue }
            return CheckpointObstacle(
                kind: .externalUnixSocket,
                process: process,
                reason: "Process \(process) is connected to a Unix socket of a process outside the container.",
                remedy: "Do not mount sockets of the node into a job that is to be checkpointed."
            )
        }
        return nil
    }

    private static func descriptors(of process: Int32) -> [String] {
        let folder = "/proc/\(process)/fd"
        return ((try? FileSystem.list(folder)) ?? []).compactMap { FileSystem.linkTarget("\(folder)/\($0)") }
    }

    private static func socketInode(_ target: String) -> UInt64? {
        guard target.hasPrefix("socket:["), target.hasSuffix("]") else { return nil }
        return UInt64(target.dropFirst(8).dropLast())
    }
}

extension FileSystem {
    /// Where a symbolic link leads; nil when there is none.
    static func linkTarget(_ path: String) -> String? {
        var buffer = [UInt8](repeating: 0, count: 4096)
        let count = unsafe buffer.withUnsafeMutableBytes { bytes in
            guard let base = bytes.baseAddress else { return -1 }
            return unsafe readlink(path, base.assumingMemoryBound(to: CChar.self), bytes.count)
        }
        return count > 0 ? String(decoding: buffer[..<count], as: UTF8.self) : nil
    }
}
