import AgentConfiguration
import ClusterModel
import Containers
import LinuxSystem
import Synchronization

/// How long this node may run containers, where the shims read it: the fence that holds when the agent does not.
///
/// A shim kills its container when the lease has ended, whether the agent is stopped, hangs or is gone. So whoever extends it promises
/// that nobody else starts the node's jobs before that end. The end is counted by the clock that goes on while the machine is suspended.
final class LeaseFile: Sendable {
    /// What the file says.
    enum Lease: Sendable, Equatable {
        /// Containers need nobody's word: the node is a cluster of its own.
        case unlimited
        /// In nanoseconds of ``BootClock``; containers are ended then.
        case until(nanoseconds: Int64)
        /// Left over from before the machine was restarted: for containers, it has ended.
        case otherBoot
    }

    let path: String
    /// The latest end that this object has written; nil when it has written none since the lease was unlimited.
    private let written = Mutex<Int64?>(nil)

    init(path: String) { self.path = path }

    /// The file that the containers of an agent with this configuration are bound to.
    convenience init(_ configuration: AgentConfiguration) {
        self.init(path: SystemContainerHost.containersConfiguration(configuration).leaseFile)
    }

    /// Lets containers run until this moment; one that is no later than what has been promised changes nothing.
    ///
    /// Two system calls' worth of work on a file in memory, so once a second is no burden, and a full file system does not keep it from
    /// being extended once it has been twice.
    func extend(until moment: ContinuousClock.Instant) throws(SystemError) {
        try extend(untilNanoseconds: BootClock.nanoseconds() + ContinuousClock.now.duration(to: moment).nanoseconds)
    }

    /// As ``extend(until:)``, by ``BootClock``.
    func extend(untilNanoseconds end: Int64) throws(SystemError) {
        try written.withLock { written throws(SystemError) in
            if let written, end <= written { return }
            try FileSystem.replace(path, with: "boot \(Self.boot) until \(end)\n")
            written = end
        }
    }

    /// Lets containers run whatever happens: for a cluster of one.
    func setUnlimited() throws(SystemError) {
        try written.withLock { written throws(SystemError) in
            try FileSystem.replace(path, with: "none\n")
            written = nil
        }
    }

    /// What stands in the file, whoever wrote it; nil when there is none, or none that a shim would understand.
    func read() throws(SystemError) -> Lease? {
        let text: String
        do throws(SystemError) { text = try FileSystem.readLine(path) } catch {
            if error.isAbsent { return nil }
            throw error
        }
        let words = text.split(separator: " ")
        if words == ["none"] { return .unlimited }
        guard words.count == 4, words[0] == "boot", words[2] == "until", let end = Int64(words[3]) else { return nil }
        return words[1] == Self.boot ? .until(nanoseconds: end) : .otherBoot
    }

    /// As the shims name it, which have no other way either where /proc does not show the boot.
    private static var boot: String { Machine.bootID.isEmpty ? "-" : Machine.bootID }
}
