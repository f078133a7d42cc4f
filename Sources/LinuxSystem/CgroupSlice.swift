internal import CLinux
package import ClusterModel
internal import Glibc
package import ResourceSamples

/// The cgroup below which the containers' cgroups are, one to a container.
///
/// The default is a group of its own at the root (`/godwit`), as container engines with the cgroupfs driver have it: it stays when
/// the agent's service is restarted, and the kernel's "no internal processes" rule cannot get in the way of that. Where the agent may
/// only use the part of the tree that was delegated to it, ``delegated(in:memberships:)`` puts containers beside the agent.
package struct CgroupSlice: Sendable, Equatable {
    package let hierarchy: CgroupHierarchy
    /// The same in every hierarchy, from its root, beginning with `/`.
    package let path: String

    /// Names a slice; makes nothing yet.
    ///
    /// `path` begins with `/` and holds no `..`.
    package init(in hierarchy: CgroupHierarchy, path: String = "/godwit") throws(SystemError) {
        let parts = path.split(separator: "/", omittingEmptySubsequences: true)
        guard path.hasPrefix("/"), !parts.isEmpty, parts.allSatisfy({ $0 != "." && $0 != ".." }) else {
            throw SystemError(
                "use cgroup",
                path,
                code: EINVAL,
                remedy: "Give a path from the root of the hierarchy, such as /godwit."
            )
        }
        self.hierarchy = hierarchy
        self.path = "/" + parts.joined(separator: "/")
    }

    /// Finds the agent's own cgroup in the unified hierarchy, moves the agent into a leaf `agent` of it, and uses the rest for containers.
    ///
    /// For agents that own only a delegated subtree (`Delegate=yes`, or a container). Calling it again, also after a restart that left
    /// the agent in the leaf, gives the same slice.
    ///
    /// - Parameters:
    ///   - hierarchy: version 2, or hybrid with useful controllers in the unified hierarchy.
    ///   - memberships: the agent's /proc/self/cgroup; nil reads it.
    /// - Returns: the slice, whose cgroup holds no process any more.
    /// - Throws: ``SystemError`` when a process cannot be moved or there is no unified hierarchy.
    package static func delegated(
        in hierarchy: CgroupHierarchy,
        memberships: [CgroupMembership]? = nil
    ) throws -> CgroupSlice {
        let own: [CgroupMembership]
        if let memberships {
            own = memberships
        } else {
            let bytes = try FileSystem.read("/proc/self/cgroup")
            own = try CgroupMembership.parse(bytes.span)
        }
        guard let mountPoint = hierarchy.unifiedMountPoint, let membership = own.first(where: \.isUnified) else {
            throw SystemError(
                "find the agent's own cgroup",
                "",
                code: ENOENT,
                remedy: "Delegation needs cgroup v2: configure a slice such as /godwit instead."
            )
        }
        let isInLeaf = membership.path.hasSuffix("/agent")
        let home = isInLeaf ? String(membership.path.dropLast("/agent".count)) : membership.path
        guard home.count > 1 else {
            throw SystemError(
                "use as a slice",
                "/",
                code: EBUSY,
                remedy: "The agent runs in the root cgroup: configure a slice such as /godwit instead."
            )
        }
        let folder = mountPoint + home
        try FileSystem.createFolder("\(folder)/agent")
        // A process that forks while its group is emptied leaves a child behind, hence the rounds.
        for _ in 0..<10 {
            let bytes = try FileSystem.read("\(folder)/cgroup.procs", limit: 16 << 20)
            let left = try CgroupValue.processes(parsing: bytes.span)
            if left.isEmpty { return try CgroupSlice(in: hierarchy, path: home) }
            for pid in left {
                try move(pid, to: "\(folder)/agent")
            }
        }
        throw SystemError(
            "move all processes out of",
            folder,
            code: EBUSY,
            remedy: "Something keeps starting processes there: give the agent a cgroup of its own."
        )
    }

    /// Makes the slice in every hierarchy and, on v2, hands the controllers down to it and to what will be below it.
    package func setUp() throws {
        for place in hierarchy.places {
            let folder = place.mountPoint + path
            // In a hybrid layout the unified part gives only pressure: worth having, not worth failing for.
            if place.isUnified && hierarchy.mode != .v2 {
                try? FileSystem.createFolder(folder)
            } else {
                try FileSystem.createFolder(folder)
            }
            if place.isUnified { try handDownControllers(mountPoint: place.mountPoint) }
            // Before Linux 5.11 a v1 memory group counts those below it only when told so, and only while it has none.
            let counting = folder + "/memory.use_hierarchy"
            if !place.isUnified, let value = try? FileSystem.readLine(counting), value == "0" {
                try FileSystem.writeValue("1", to: counting)
            }
        }
    }

    /// Enables the wanted controllers from the root of the hierarchy down to this slice.
    ///
    /// Each level can only give what it was given (Documentation/admin-guide/cgroup-v2.rst, "Top-down Constraint").
    private func handDownControllers(mountPoint: String) throws {
        let wanted = hierarchy.controllers.filter { $0.isUnified && CgroupHierarchy.wanted.contains($0.name) }.map(
            \.name
        )
        guard !wanted.isEmpty else { return }
        var folder = mountPoint
        for step in [""] + path.split(separator: "/").map(String.init) {
            if !step.isEmpty { folder += "/" + step }
            let available = try words(in: "\(folder)/cgroup.controllers")
            let enabled = try words(in: "\(folder)/cgroup.subtree_control")
            for name in wanted where !enabled.contains(name) {
                guard available.contains(name) else {
                    throw SystemError(
                        "enable the controller \(name) in",
                        folder,
                        code: ENOENT,
                        remedy:
                            "The group above does not hand it down: delegate it (Delegate=yes) or choose another slice."
                    )
                }
                try Self.enable(name, in: folder)
            }
        }
    }

    private static func enable(_ controller: String, in folder: String) throws(SystemError) {
        do throws(SystemError) {
            try FileSystem.writeValue("+\(controller)", to: "\(folder)/cgroup.subtree_control")
        } catch  where error.code == EBUSY {
            throw SystemError(
                "enable the controller \(controller) in",
                folder,
                code: EBUSY,
                remedy: "Processes run directly in this group (the \"no internal processes\" rule of cgroup v2): "
                    + "move them into a group below it or choose another slice."
            )
        }
    }

    /// A process that has ended meanwhile need not be moved.
    private static func move(_ pid: Int32, to folder: String) throws(SystemError) {
        do throws(SystemError) {
            try FileSystem.writeValue("\(pid)\n", to: "\(folder)/cgroup.procs")
        } catch  where error.code == ESRCH {
            return
        }
    }

    private func words(in file: String) throws(SystemError) -> [String] {
        let bytes = try FileSystem.read(file)
        return CgroupValue.words(parsing: bytes.span)
    }

    /// Gives the slice as a whole a weight against the rest of the machine: that of all vCPUs that containers may be promised.
    package func setCPUWeight(capacity: VCPUCount) throws(SystemError) {
        try Cgroup(hierarchy: hierarchy, path: path).setCPUWeight(capacity)
    }

    /// Makes the cgroup of one container, or opens it if it is there already.
    ///
    /// `name` is one path component: letters, digits, `.`, `_`, `-`.
    package func create(_ name: String) throws(SystemError) -> Cgroup {
        let cgroup = try self.cgroup(name)
        for place in hierarchy.places {
            if place.isUnified && hierarchy.mode != .v2 {
                try? FileSystem.createFolder(place.mountPoint + cgroup.path)
            } else {
                try FileSystem.createFolder(place.mountPoint + cgroup.path)
            }
        }
        return cgroup
    }

    /// Opens the cgroup of one container; nil when no hierarchy has it.
    package func open(_ name: String) throws(SystemError) -> Cgroup? {
        let cgroup = try self.cgroup(name)
        return cgroup.exists ? cgroup : nil
    }

    /// The names of the cgroups below the slice, sorted; the agent's own leaf is not among them.
    package func names() throws(SystemError) -> [String] {
        var names: Set<String> = []
        for place in hierarchy.places {
            let folder = place.mountPoint + path
            guard FileSystem.exists(folder) else { continue }
            for name in try FileSystem.list(folder) where FileSystem.status("\(folder)/\(name)")?.kind == .folder {
                names.insert(name)
            }
        }
        names.remove("agent")
        return names.sorted()
    }

    /// Removes the slice itself, which must have no cgroup below it any more.
    package func remove() async throws { try await Cgroup(hierarchy: hierarchy, path: path).remove() }

    /// The cgroup with this name, whether it exists or not.
    package func cgroup(_ name: String) throws(SystemError) -> Cgroup {
        let allowed = name.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"):
                true
            default: false
            }
        }
        guard allowed, (1...200).contains(name.utf8.count), name != ".", name != "..", name != "agent" else {
            throw SystemError("name a cgroup", name, code: EINVAL, remedy: "Use letters, digits, '.', '_' and '-'.")
        }
        return Cgroup(hierarchy: hierarchy, path: "\(path)/\(name)")
    }
}
