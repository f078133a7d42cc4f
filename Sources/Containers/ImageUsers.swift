internal import LinuxSystem

/// Resolves the user of a container with the image's own /etc/passwd and /etc/group.
struct ImageUsers {
    private let rootFolder: String
    private let imageName: String

    init(_ image: PreparedImage) {
        rootFolder = image.rootFolder
        imageName = image.key.rawValue
    }

    /// Understands `user`, `user:group`, `uid`, `uid:gid`, and mixtures; nil is root.
    func resolve(_ text: String?) throws -> (user: RuntimeSpecification.Process.User, home: String) {
        guard let text, !text.isEmpty else { return (.init(uid: 0, gid: 0), home(of: 0) ?? "/root") }
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        let accounts = entries("passwd")
        var user = RuntimeSpecification.Process.User(uid: 0, gid: 0)
        let account = accounts.first { $0[0] == parts[0] } ?? accounts.first { $0.count > 2 && $0[2] == parts[0] }
        if let number = UInt32(parts[0]) {
            user.uid = number
            user.gid = account.flatMap { $0.count > 3 ? UInt32($0[3]) : nil } ?? 0
        } else if let account, account.count > 3, let uid = UInt32(account[2]), let gid = UInt32(account[3]) {
            (user.uid, user.gid) = (uid, gid)
        } else {
            throw unknown("user", parts[0], "passwd")
        }
        let groups = entries("group")
        if parts.count > 1 {
            if let number = UInt32(parts[1]) {
                user.gid = number
            } else if let group = groups.first(where: { $0[0] == parts[1] }), group.count > 2,
                let gid = UInt32(group[2])
            {
                user.gid = gid
            } else {
                throw unknown("group", parts[1], "group")
            }
        } else if let name = account?[0] {
            let others = groups.compactMap { group -> UInt32? in
                guard group.count > 3, group[3].split(separator: ",").contains(name[...]) else { return nil }
                return UInt32(group[2])
            }
            if !others.isEmpty { user.additionalGids = others.sorted() }
        }
        return (user, account.flatMap { $0.count > 5 ? $0[5] : nil } ?? "/")
    }

    private func home(of uid: UInt32) -> String? {
        entries("passwd").first { $0.count > 5 && $0[2] == String(uid) }?[5]
    }

    /// The lines of a file of /etc, cut at colons; none when it is missing, or a link, which could lead out of the image.
    private func entries(_ file: String) -> [[String]] {
        guard FileSystem.status("\(rootFolder)/etc")?.kind == .folder,
            FileSystem.status("\(rootFolder)/etc/\(file)")?.kind == .file,
            let text = try? FileSystem.readText("\(rootFolder)/etc/\(file)", limit: 4 << 20)
        else { return [] }
        return text.split(separator: "\n").filter { !$0.hasPrefix("#") }
            .map { $0.split(separator: ":", omittingEmptySubsequences: false).map(String.init) }
    }

    private func unknown(_ what: String, _ name: String, _ file: String) -> ContainerError {
        let known = entries(file).prefix(20).map { $0[0] }.joined(separator: ", ")
        return ContainerError(
            .settingInvalid,
            "The image \(imageName) has no \(what) \"\(name)\" in /etc/\(file).",
            remedy: known.isEmpty
                ? "It has no such file: give the numbers, as uid:gid."
                : "Give the numbers, as uid:gid, or one of: \(known)."
        )
    }
}
