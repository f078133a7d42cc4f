internal import CLinux
package import ClusterModel
internal import Glibc
internal import ResourceSamples

/// Mounting and unmounting; needs CAP_SYS_ADMIN.
package enum Mounts {
    /// The kernel takes the options of mount(2) in one page.
    private static let optionLimit = 4095

    /// Mounts layers over each other: the first of `lower` is the uppermost; `upper` and `work` must be empty folders of one file system.
    ///
    /// - Parameters:
    ///   - target: an existing folder.
    ///   - lower: read-only folders, at least one.
    ///   - upper: where what is written goes; nil makes it read-only.
    ///   - work: the kernel's scratch folder; needed with `upper`.
    ///   - extraOptions: such as `volatile`, `xino=off`.
    /// - Throws: ``SystemError``, with a remedy when the paths are too long for one page.
    package static func overlay(
        on target: String,
        lower: [String],
        upper: String? = nil,
        work: String? = nil,
        extraOptions: [String] = []
    ) throws(SystemError) {
        var options = ["lowerdir=" + lower.map(escape).joined(separator: ":")]
        if let upper, let work { options += ["upperdir=" + escape(upper), "workdir=" + escape(work)] }
        options += extraOptions
        let text = options.joined(separator: ",")
        guard text.utf8.count <= optionLimit else {
            throw SystemError(
                "mount overlay on",
                target,
                code: E2BIG,
                remedy:
                    "The paths of \(lower.count) layers need \(text.utf8.count) bytes and the kernel takes \(optionLimit): "
                    + "choose a shorter state folder or an image with fewer layers."
            )
        }
        _ = try retrying("mount overlay on", target) { unsafe godwit_mount("overlay", target, "overlay", 0, text) }
    }

    /// Mounts an empty file system in memory.
    package static func tmpfs(on target: String, size: ByteCount, mode: UInt32 = 0o700) throws(SystemError) {
        let options = "size=\(size.rawValue),mode=\(String(mode, radix: 8))"
        let flags = GODWIT_MS_NOSUID | GODWIT_MS_NODEV
        _ = try retrying("mount tmpfs on", target) { unsafe godwit_mount("tmpfs", target, "tmpfs", flags, options) }
    }

    /// Shows a file or folder at a second place, with all mounts below it.
    package static func bind(_ source: String, to target: String, isReadOnly: Bool = false) throws(SystemError) {
        let flags = GODWIT_MS_BIND | GODWIT_MS_REC
        _ = try retrying("bind \(source) to", target) { unsafe godwit_mount(source, target, nil, flags, nil) }
        guard isReadOnly else { return }
        // The kernel ignores MS_RDONLY on the first call: a bind mount becomes read-only by a remount (mount(2)).
        let again = GODWIT_MS_BIND | GODWIT_MS_REMOUNT | GODWIT_MS_RDONLY
        do throws(SystemError) {
            _ = try retrying("make read-only", target) { unsafe godwit_mount(nil, target, nil, again, nil) }
        } catch {
            try? unmount(target)
            throw error
        }
    }

    /// Keeps mounts made below a mount point from showing in other mount namespaces.
    package static func makePrivate(_ target: String) throws(SystemError) {
        let flags = GODWIT_MS_PRIVATE | GODWIT_MS_REC
        _ = try retrying("make private", target) { unsafe godwit_mount(nil, target, nil, flags, nil) }
    }

    /// Takes the topmost mount off; a place where nothing is mounted (EINVAL) or that is gone (ENOENT) is no error.
    ///
    /// Lazily, it disappears at once and is freed when its last user has gone.
    package static func unmount(_ target: String, isLazy: Bool = false) throws(SystemError) {
        let flags = GODWIT_UMOUNT_NOFOLLOW | (isLazy ? GODWIT_MNT_DETACH : 0)
        do throws(SystemError) {
            _ = try retrying("unmount", target) { unsafe godwit_unmount(target, flags) }
        } catch  where error.code == EINVAL || error.code == ENOENT {
            return
        }
    }

    /// Takes everything off that is mounted on a folder or below it, lazily and the newest first; nothing there is no error.
    ///
    /// For folders in which a program that was killed may have left mounts: what is removed below one of them would be removed from
    /// whatever is mounted.
    package static func unmountAll(within folder: String) throws(SystemError) {
        let mounts: [MountEntry]
        do { mounts = try Machine.mounts() } catch {
            throw (error as? SystemError) ?? SystemError("read the mounts of", "/proc/self/mountinfo", code: EINVAL)
        }
        for place in mounts.map(\.mountPoint).reversed() where place == folder || place.hasPrefix("\(folder)/") {
            try unmount(place, isLazy: true)
        }
    }

    /// Whether something is mounted exactly there, in this mount namespace.
    package static func isMountPoint(_ path: String) throws -> Bool {
        try Machine.mounts().contains { $0.mountPoint == path }
    }

    /// Overlayfs splits its options at commas and its layers at colons, unless a backslash stands before them.
    private static func escape(_ path: String) -> String {
        var result = ""
        for character in path {
            if character == "\\" || character == ":" || character == "," { result.append("\\") }
            result.append(character)
        }
        return result
    }
}
