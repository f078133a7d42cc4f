/// One line of /proc/PID/mountinfo (proc_pid_mountinfo(5)).
package struct MountEntry: Sendable, Equatable {
    package var id: UInt64
    /// `id` of the mount on which it is mounted; for the topmost one that of no mount in the list.
    package var parent: UInt64
    /// The folder of the mounted file system that shows at `mountPoint`.
    package var root: String
    /// Where it shows, from the root of the process that was asked; blanks and the like are no longer escaped.
    package var mountPoint: String
    /// Options of this mount.
    package var options: [String]
    /// `cgroup`, `cgroup2`, `overlay`, `tmpfs`, ...
    package var fileSystem: String
    /// What was mounted, as the file system understands it: a device, or any word, often `none`.
    package var source: String
    /// Options of the file system itself; for cgroup v1 the controllers are among them.
    package var superOptions: [String]

    /// Reads a whole mountinfo.
    package static func parse(_ text: Span<UInt8>) throws(SampleError) -> [MountEntry] {
        var cursor = LineCursor()
        var entries: [MountEntry] = []
        while let line = cursor.next(in: text), !line.isEmpty {
            guard let entry = MountEntry(text, line) else {
                throw text.failure(
                    "mountinfo",
                    cursor,
                    line,
                    "id, parent, device, root, mount point, options, \"-\", type, source, options"
                )
            }
            entries.append(entry)
        }
        return entries
    }

    private init?(_ text: Span<UInt8>, _ line: Range<Int>) {
        var words = WordCursor(line)
        guard let id = words.unsigned(in: text), let parent = words.unsigned(in: text), words.next(in: text) != nil,
            let root = words.string(in: text), let point = words.string(in: text), let options = words.string(in: text)
        else { return nil }
        // Zero or more optional fields, then a single hyphen.
        while true {
            guard let word = words.next(in: text) else { return nil }
            if text.equals(word, "-") { break }
        }
        guard let type = words.string(in: text), let source = words.string(in: text) else { return nil }
        (self.id, self.parent) = (id, parent)
        (self.root, mountPoint) = (Self.unescape(root), Self.unescape(point))
        self.options = options.split(separator: ",").map(String.init)
        (fileSystem, self.source) = (type, Self.unescape(source))
        superOptions = (words.string(in: text) ?? "").split(separator: ",").map(String.init)
    }

    /// Blank, tab, line end and backslash are written as three octal digits after a backslash.
    private static func unescape(_ text: String) -> String {
        guard text.utf8.contains(92) else { return text }
        let bytes = Array(text.utf8)
        var result: [UInt8] = []
        var index = 0
        while index < bytes.count {
            if bytes[index] == 92, index + 3 < bytes.count,
                let value = UInt8(String(decoding: bytes[index + 1...index + 3], as: UTF8.self), radix: 8)
            {
                result.append(value)
                index += 4
            } else {
                result.append(bytes[index])
                index += 1
            }
        }
        return String(decoding: result, as: UTF8.self)
    }
}

/// One line of /proc/PID/cgroup: where a process is in one hierarchy (cgroups(7)).
package struct CgroupMembership: Sendable, Equatable {
    /// 0 is the unified hierarchy.
    package var hierarchy: UInt64
    /// Empty for the unified hierarchy; `name=systemd` for a named one without controllers.
    package var controllers: [String]
    /// Begins with `/`, counted from the root of the hierarchy as this process's cgroup namespace shows it.
    package var path: String

    /// Whether this is cgroup v2.
    package var isUnified: Bool { hierarchy == 0 && controllers.isEmpty }

    /// Reads a whole /proc/PID/cgroup.
    package static func parse(_ text: Span<UInt8>) throws(SampleError) -> [CgroupMembership] {
        var cursor = LineCursor()
        var entries: [CgroupMembership] = []
        while let line = cursor.next(in: text), !line.isEmpty {
            guard let first = line.first(where: { text[$0] == 58 }),
                let second = (first + 1..<line.upperBound).first(where: { text[$0] == 58 }),
                let hierarchy = text.unsigned(line.lowerBound..<first), second + 1 < line.upperBound,
                text[second + 1] == 47
            else { throw text.failure("/proc/PID/cgroup", cursor, line, "hierarchy:controllers:/path") }
            entries.append(
                CgroupMembership(
                    hierarchy: hierarchy,
                    controllers: text.string(first + 1..<second).split(separator: ",").map(String.init),
                    path: text.string(second + 1..<line.upperBound)
                )
            )
        }
        return entries
    }
}
