import Glibc
import LinuxSystem

/// A folder that only this process's user can look into.
enum PrivateFolder {
    /// Refuses a folder that someone else has made, or can enter, or that is a link to elsewhere.
    ///
    /// Above it may be a folder in which everyone can make names, as /dev/shm is: whoever comes first chooses what is under the name.
    static func require(_ path: String, setting: String, because reason: String) throws(AgentProgram.Failure) {
        // With a slash at its end, a link would be followed.
        var path = path[...]
        while path.count > 1, path.hasSuffix("/") { path.removeLast() }
        let (status, user) = (FileSystem.status(String(path)), geteuid())
        let complaint: String? =
            switch status {
            case .none: "is not there"
            case .some(let status) where status.kind == .symbolicLink: "is a link"
            case .some(let status) where status.kind != .folder: "is not a folder"
            case .some(let status) where status.user != user: "belongs to user \(status.user) instead of \(user)"
            case .some(let status) where status.mode & 0o077 != 0:
                "can be entered by others (mode \(String(status.mode, radix: 8)))"
            default: nil
            }
        guard let complaint else { return }
        throw AgentProgram.Failure(
            "\(path) \(complaint), but \(reason); find out who made it, remove it, and start the agent again, or name another "
                + "folder (\(setting))",
            exitCode: 78
        )
    }
}
