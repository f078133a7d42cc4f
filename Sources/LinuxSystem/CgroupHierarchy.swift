internal import CLinux
internal import Glibc
package import ResourceSamples

/// How this machine has its cgroups mounted: version 1, version 2, or both at once.
package struct CgroupHierarchy: Sendable, Equatable {
    /// Which versions are mounted (cgroups(7)).
    package enum Mode: String, Sendable, Codable {
        /// Each controller has a hierarchy of its own.
        case v1
        /// All controllers share one hierarchy.
        case v2
        /// Controllers are spread: some in version 1 hierarchies, others in the unified one.
        case hybrid
    }

    /// A controller and the hierarchy it is to be used in.
    package struct Controller: Sendable, Equatable {
        /// As the kernel spells it: `cpu`, `memory`.
        package var name: String
        /// Where its hierarchy is mounted, an absolute path.
        package var mountPoint: String
        /// Whether that is the hierarchy of version 2; it decides the names and units of the files.
        package var isUnified: Bool
    }

    package let mode: Mode
    /// Sorted by name.
    package let controllers: [Controller]
    /// Where version 2 is mounted, with or without useful controllers.
    package let unifiedMountPoint: String?

    /// Every hierarchy below the root, those with no controller of ours and named ones too.
    ///
    /// A container runtime makes its groups in all of them, so what it left must be removed from all of them.
    package let mountPoints: [String]

    /// The controllers that containers of Godwit need or profit from; others are left to the container runtime.
    package static let wanted = ["cpu", "cpuacct", "freezer", "memory", "pids"]

    /// Finds out what is mounted at and below a folder.
    ///
    /// - Parameters:
    ///   - root: where cgroups are mounted; another folder is for tests.
    ///   - mounts: the mounts to look through; nil reads /proc/self/mountinfo.
    /// - Returns: the hierarchy.
    /// - Throws: ``SystemError`` with ENOENT and the remedy when no cgroup file system is mounted there.
    package static func detect(root: String = "/sys/fs/cgroup", mounts: [MountEntry]? = nil) throws -> CgroupHierarchy {
        let entries = try mounts ?? Machine.mounts()
        let below = entries.filter { $0.mountPoint == root || $0.mountPoint.hasPrefix(root + "/") }
        var found: [String: Controller] = [:]
        // A later line of mountinfo covers an earlier one at the same place.
        let unified = below.last { $0.fileSystem == "cgroup2" }?.mountPoint
        let version1 = below.filter { $0.fileSystem == "cgroup" }
        for entry in version1 {
            for option in entry.superOptions where Self.isControllerName(option) {
                found[option] = Controller(name: option, mountPoint: entry.mountPoint, isUnified: false)
            }
        }
        if let unified {
            let bytes = try FileSystem.read("\(unified)/cgroup.controllers")
            for name in CgroupValue.words(parsing: bytes.span) where found[name] == nil {
                found[name] = Controller(name: name, mountPoint: unified, isUnified: true)
            }
        }
        guard unified != nil || !found.isEmpty else {
            throw SystemError(
                "find cgroups at",
                root,
                code: ENOENT,
                remedy:
                    "Mount them (mount -t cgroup2 none /sys/fs/cgroup), or run the agent with the host's /sys/fs/cgroup."
            )
        }
        return CgroupHierarchy(
            mode: unified == nil ? .v1 : found.values.contains { !$0.isUnified } ? .hybrid : .v2,
            controllers: found.values.sorted { $0.name < $1.name },
            unifiedMountPoint: unified,
            mountPoints: Set(version1.map(\.mountPoint) + (unified.map { [$0] } ?? [])).sorted()
        )
    }

    /// The controller with this name, or nil where this machine has none.
    package func controller(_ name: String) -> Controller? { controllers.first { $0.name == name } }

    /// Whether a use of this kind is possible; on v2 freezing and CPU time need no controller.
    package func has(_ name: String) -> Bool {
        if controller(name) != nil { return true }
        return mode == .v2 && (name == "freezer" || name == "cpuacct")
    }

    /// The distinct places at which a cgroup has a folder, each with the controllers used there; the unified one comes last.
    package var places: [(mountPoint: String, isUnified: Bool)] {
        var mountPoints: [String] = []
        for controller in controllers
        where !controller.isUnified && Self.wanted.contains(controller.name)
            && !mountPoints.contains(controller.mountPoint)
        {
            mountPoints.append(controller.mountPoint)
        }
        return mountPoints.map { ($0, false) } + (unifiedMountPoint.map { [($0, true)] } ?? [])
    }

    /// Options of a version 1 mount that are not controllers.
    private static func isControllerName(_ option: String) -> Bool {
        let others: Set = [
            "rw", "ro", "noprefix", "clone_children", "xattr", "cpuset_v2_mode", "all", "none", "favordynmods",
        ]
        return !others.contains(option) && !option.contains("=")
    }
}
