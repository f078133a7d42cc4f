internal import LinuxSystem

/// What CRIU finds out about the kernel, kept for its later runs.
///
/// CRIU asks the kernel for all that it can at the start of each run and keeps the answers in `/run/criu.kdat`, but only where that is in memory and so
/// gone after a reboot (`criu/kerndat.c`). Elsewhere each dump and each restore asks anew, while the job stands still: a tenth of a second each time.
/// There the agent keeps the answers: it forgets those of an earlier boot and has CRIU give them once, before anything stands still.
package enum CRIUKernelCache {
    private static let folder = "/run"
    /// Where CRIU looks for its answers; it refuses those of another build of itself.
    static let path = folder + "/criu.kdat"
    /// CRIU's answers are about 1 KiB.
    private static let byteLimit = 64 << 10

    /// Whether CRIU keeps its answers itself.
    private static var isKeptByCRIU: Bool { (try? FileSystem.space(at: folder).isMemory) ?? true }

    /// Has CRIU find out what it wants to know about this kernel, in a mount namespace in which its folder is in memory, and keeps that.
    ///
    /// Nothing is to be done where CRIU does it itself. What an earlier boot left there is replaced, or removed.
    ///
    /// - Parameter candidates: names or paths of CRIU; the first that is there is taken.
    /// - Returns: why it could not be kept, so that CRIU asks in each run; nil when it is kept.
    package static func renew(_ candidates: [String]) async -> String? {
        if isKeptByCRIU { return nil }
        do {
            try FileSystem.writeAtomically(try await answers(candidates), to: path, mode: 0o600)
            return nil
        } catch {
            try? FileSystem.removeAll(path)
            return "\(error)"
        }
    }

    private static func answers(_ candidates: [String]) async throws -> [UInt8] {
        let criu = try candidates.lazy.compactMap(Tool.find).first ?? Tool("criu").path
        let script = #"mount -t tmpfs -o size=1m,mode=0700 godwit /run && "$1" check >/dev/null 2>&1; exec cat "$2""#
        let result = try await Tool("unshare", package: "util-linux").run(
            ["--mount", "--propagation", "private", "/bin/sh", "-c", script, "sh", criu, path],
            timeout: .seconds(10)
        )
        guard result.isSuccess, !result.output.isEmpty, result.output.count <= byteLimit else {
            throw ContainerError(
                .toolMissing,
                "CRIU kept nothing of what it found out about the kernel: \(result.complaint)",
                remedy: "Look at what `criu check` says."
            )
        }
        return result.output
    }
}
