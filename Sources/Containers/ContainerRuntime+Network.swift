internal import ClusterModel
internal import LinuxSystem
internal import Synchronization

// Networks of containers' own: made with the container, held while it stands still, gone with it.
//
// Every call may be repeated, and is safe after a crash of the agent: what is held is gone with the agent, and what the bridge was told is
// put right when the container is adopted.
extension ContainerRuntime {
    /// Holds what arrives for a container from now on, instead of giving it to the container; nothing for one without a network of its own,
    /// nor when it is held already.
    ///
    /// What the container sends goes out, until ``cutNetwork(of:)``. At most ``ContainerBridge/holdLimit`` is held, the newest.
    package func lockNetwork(of id: ContainerID) async throws {
        guard let (link, network) = try link(of: id), hold(of: id) == nil else { return }
        try await divert(id, link, network)
    }

    func divert(_ id: ContainerID, _ link: ContainerLink, _ network: ContainerNetwork) async throws {
        let hold = try await NetworkNamespace.run(in: link.bridge.namespace) { () throws(SystemError) in
            try NetworkHold(link, hardwareAddress: network.hardwareAddress, limit: link.bridge.holdLimit)
        }
        try explaining("holding what arrives for \(id)") { () throws(SystemError) in try hold.begin() }
        do { try await link.divert(network) } catch {
            try? await link.attach(network)
            _ = await hold.end()
            throw error
        }
        holds.withLock { $0[id] = hold }
    }

    /// Whether what arrives for the container is held at the moment.
    package func isNetworkLocked(of id: ContainerID) -> Bool { hold(of: id) != nil }

    /// Ends the part of a container that goes on elsewhere: from now on nothing of it goes out here, and what arrives goes on to where the
    /// bridges know it, or to all of them.
    ///
    /// Returns the frames that were held, to be handed to the node on which the container goes on. Each frame came into what this returns, or went on; none did both.
    package func handOverNetwork(of id: ContainerID) async throws -> HeldFrames {
        guard let (link, network) = try link(of: id) else { return HeldFrames() }
        guard let hold = hold(of: id) else {
            try await link.cut()
            return HeldFrames()
        }
        try await link.release(network)
        holds.withLock { $0[id] = nil }
        return await hold.end()
    }

    /// Gives frames to a container as if they arrived now, before what is held for it here.
    package func inject(_ held: HeldFrames, into id: ContainerID) async throws {
        guard !held.frames.isEmpty, let (link, _) = try link(of: id) else { return }
        if let hold = hold(of: id) { return hold.give(held) }
        try await NetworkNamespace.run(in: link.bridge.namespace) { () throws(SystemError) in
            let door = try FrameSocket(link.host)
            for frame in held.frames { try? door.send(frame) }
        }
    }

    /// Tells everybody on the bridges that the container's address is here (a gratuitous ARP request, RFC 5227).
    package func announce(_ id: ContainerID) async throws {
        if let (link, network) = try link(of: id) { try await announce(link, network) }
    }

    private func announce(_ link: ContainerLink, _ network: ContainerNetwork) async throws {
        let frame = Self.announcement(network)
        try await NetworkNamespace.run(in: link.namespace) { () throws(SystemError) in
            try FrameSocket("eth0").send(frame)
        }
    }

    static func announcement(_ network: ContainerNetwork) -> [UInt8] {
        let (own, address) = (network.hardwareAddress, network.address.address.bytes)
        let everybody = [UInt8](repeating: 0xFF, count: 6)
        // Ethernet, IPv4, six and four bytes, a request; to be as long as a frame must be.
        let request: [UInt8] = [0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1]
        let frame = everybody + own + request + own + address + [0, 0, 0, 0, 0, 0] + address
        return frame + [UInt8](repeating: 0, count: 60 - frame.count)
    }

    /// Gives the container what was held, once and in order, and lets what comes reach it as before; nothing for one without a network of
    /// its own.
    @discardableResult
    package func unlockNetwork(of id: ContainerID) async throws -> HeldCount {
        guard let (link, network) = try link(of: id) else { return HeldCount() }
        guard let hold = holds.withLock({ $0.removeValue(forKey: id) }) else {
            try await link.attach(network)
            return HeldCount()
        }
        // What it gets it acknowledges at once.
        do { try await link.open() } catch {
            holds.withLock { $0[id] = hold }
            throw error
        }
        var count = hold.replay()
        // The frames come to the container from here on; those that are still on the way to the device are few.
        do { try await link.attach(network) } catch {
            holds.withLock { $0[id] = hold }
            throw error
        }
        let rest = await hold.end()
        hold.give(rest)
        count.add(rest)
        return count
    }

    /// Lets nothing more of the container out, as a checkpoint does while the container stands still.
    ///
    /// What the kernel repeats for it would carry later timestamps than what a restored one sends, which its peers then take for old
    /// (RFC 7323, PAWS); and the end of its processes would end their connections.
    /// ``unlockNetwork(of:)`` undoes it.
    package func cutNetwork(of id: ContainerID) async throws {
        if let (link, _) = try link(of: id) { try await link.cut() }
    }

    /// How the names of its containers' network namespaces begin, as ip-netns(8) lists them.
    package var networkPrefix: String { ContainerLink.prefix(configuration.stateFolder) }

    // MARK: Within the life of a container

    private func hold(of id: ContainerID) -> NetworkHold? { holds.withLock { $0[id] } }

    /// The interfaces of a container that has a network of its own; nil when it has none, or there is no such container.
    private func link(of id: ContainerID) throws -> (ContainerLink, ContainerNetwork)? {
        guard let network = try folder(of: id).readRecord()?.network else { return nil }
        return (try newLink(id), network)
    }

    func newLink(_ id: ContainerID) throws -> ContainerLink {
        guard let bridge = configuration.bridge else {
            throw ContainerError(
                .settingInvalid,
                "This node has no bridge for containers with an address of their own.",
                remedy: "Set network.bridge and network.subnet; `godwitd doctor` says more."
            )
        }
        return ContainerLink(id, on: bridge, place: configuration.stateFolder)
    }

    /// Makes the network that a new container asks for; `isHeld`: what arrives is held from the beginning.
    func makeNetwork(_ network: ContainerNetwork?, of id: ContainerID, isHeld: Bool) async throws {
        guard let network else { return }
        let link = try newLink(id)
        try await link.make(network)
        // Before it joins: one that answers before its sockets are there ends their connections.
        if isHeld { try await divert(id, link, network) }
        try await link.join()
        guard !isHeld else { return }
        try await link.attach(network)
        // The address may have been elsewhere before.
        try await announce(link, network)
    }

    /// Waits a little while for the kernel to deliver what a program sent last, before its end, and to close its connections.
    ///
    /// Not for one that was killed: it may go on elsewhere.
    func lingerNetwork(of id: ContainerID) async {
        guard let (link, _) = try? link(of: id) else { return }
        let deadline = ContinuousClock.now + .seconds(2)
        while ContinuousClock.now < deadline {
            let isClosing = try? await NetworkNamespace.run(in: link.namespace) { Self.hasClosingConnections }
            guard isClosing == true else { return }
            try? await Task.sleep(for: .milliseconds(10))
        }
    }

    /// Whether a connection in the network namespace of this thread waits for its peer to answer the last bytes: FIN_WAIT1, LAST_ACK or CLOSING
    /// (proc_net_tcp.txt).
    private static var hasClosingConnections: Bool {
        for file in ["tcp", "tcp6"] {
            let text = (try? FileSystem.readText("/proc/thread-self/net/\(file)", limit: 16 << 20)) ?? ""
            for line in text.split(separator: "\n").dropFirst() {
                let words = line.split(separator: " ")
                if words.count > 3, ["04", "09", "0B"].contains(words[3]) { return true }
            }
        }
        return false
    }

    /// Removes the network of a container that is gone.
    func removeNetwork(of id: ContainerID) async throws {
        let hold = holds.withLock { $0.removeValue(forKey: id) }
        if let link = try? newLink(id) {
            try await link.remove()
        } else {
            try await ContainerLink.remove(ContainerLink.namespace(id, place: configuration.stateFolder))
        }
        _ = await hold?.end()
    }

    /// Removes networks of containers that nothing else is left of, as when their folder was deleted by hand.
    func removeStrayNetworks(besides names: Set<String>) async {
        let prefix = networkPrefix
        for name in (try? FileSystem.list(NetworkNamespace.folder)) ?? [] where name.hasPrefix(prefix) {
            let id = ContainerID(rawValue: String(name.dropFirst(prefix.count)))
            if !names.contains(id.rawValue) { try? await removeNetwork(of: id) }
        }
    }

    /// Puts right what an agent left that was killed while the network was locked.
    func adoptNetwork(of id: ContainerID) async throws {
        guard configuration.bridge != nil, let (link, network) = try link(of: id) else { return }
        // The bridge may have been made anew meanwhile.
        try await link.join()
        try await link.attach(network)
        // It may have come from another node, with whose agent there was no time to say so.
        try await announce(link, network)
    }
}
