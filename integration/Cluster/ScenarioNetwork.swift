import Glibc
import LinuxSystem

/// Where an agent runs, when it has a network namespace of its own.
struct AgentPlace: Sendable {
    /// The namespace's name, as ip-netns(8) knows it.
    var namespace: String
    /// Its IPv4 address.
    var address: String
}

/// A network of this scenario's own: a namespace for each agent, all on one switch, on which the scenario has an address, too.
///
/// The switch is a bridge in a namespace of its own, so that nothing of the machine's network is changed but for one interface, and no packet
/// filter of the machine sees what the agents say. What the agents cannot hear of each other is dropped where it arrives, without a word,
/// as a broken line would; what the scenario asks them always passes.
struct ScenarioNetwork: Sendable {
    /// Packets from one agent that do not reach another; the numbers are the agents', from 1.
    struct Loss: Hashable, Sendable {
        var from: Int
        var to: Int
    }

    let count: Int
    /// The first three numbers of every address.
    let subnet: String

    private static let prefix = "godwit-scenario-"

    /// Makes the namespaces and their links.
    static func make(count: Int) async throws -> ScenarioNetwork {
        await removeAll(of: getpid())
        // 198.18.0.0/15 is for tests of network devices (RFC 2544): no machine is reached there.
        let used = Set(Machine.addresses())
        let subnets = (0..<512).map { "198.\(18 + ($0 + Int(getpid())) % 512 / 256).\(($0 + Int(getpid())) % 256)" }
        guard let subnet = subnets.first(where: { !used.contains("\($0).254") }) else {
            throw Broken("no subnet of 198.18.0.0/15 is free")
        }
        let network = ScenarioNetwork(count: count, subnet: subnet)
        do {
            try await network.build()
        } catch {
            await removeAll(of: getpid())
            throw error
        }
        return network
    }

    private init(count: Int, subnet: String) { (self.count, self.subnet) = (count, subnet) }

    /// Where the agent with this number runs.
    func place(_ number: Int) -> AgentPlace {
        AgentPlace(namespace: "\(Self.prefix)\(getpid())-n\(number)", address: "\(subnet).\(number)")
    }

    private func build() async throws {
        let hub = "\(Self.prefix)\(getpid())-switch"
        // An interface's name has 15 characters at most.
        let door = "gws\(getpid())"
        var lines = [
            "netns add \(hub)", "-n \(hub) link add hub type bridge forward_delay 0", "-n \(hub) link set hub up",
            "link add \(door) type veth peer name door netns \(hub)", "-n \(hub) link set door master hub up",
            "address add \(subnet).254/24 dev \(door)", "link set \(door) up",
        ]
        for number in 1...count {
            let place = place(number)
            lines += [
                "netns add \(place.namespace)",
                "-n \(hub) link add n\(number) type veth peer name eth0 netns \(place.namespace)",
                "-n \(hub) link set n\(number) master hub up", "-n \(place.namespace) link set lo up",
                // As high as the kernel draws them at times: a bridge that it joins must not take another's.
                "-n \(place.namespace) link set eth0 address fe:ff:00:00:\(byte(number / 256)):\(byte(number % 256))",
                "-n \(place.namespace) address add \(place.address)/24 dev eth0",
                "-n \(place.namespace) link set eth0 up",
            ]
        }
        for line in lines { try await Self.ip(line) }
    }

    private func byte(_ number: Int) -> String { (number < 16 ? "0" : "") + String(number, radix: 16) }

    /// Gives each agent a bridge `br0` in the place of its interface, which joins it, as an administrator would for containers.
    func makeBridges() async throws {
        for number in 1...count {
            let place = place(number)
            for line in [
                "link add br0 type bridge", "link set br0 up", "address del \(place.address)/24 dev eth0",
                "link set eth0 master br0", "address add \(place.address)/24 dev br0",
            ] { try await Self.ip("-n \(place.namespace) \(line)") }
        }
    }

    /// Makes exactly these losses happen, and no others; an empty set mends everything.
    func lose(_ losses: Set<Loss>) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 1...count {
                let sources = losses.filter { $0.to == number }.map { place($0.from).address }.sorted()
                // Taken in at once, or not at all.
                let rules =
                    "*filter\n:INPUT ACCEPT [0:0]\n" + sources.map { "-A INPUT -s \($0) -j DROP\n" }.joined()
                    + "COMMIT\n"
                group.addTask {
                    try await Self.mustRun(
                        "nsenter",
                        ["--net=/run/netns/\(place(number).namespace)", "iptables-restore", "--wait"],
                        input: rules
                    )
                }
            }
            try await group.waitForAll()
        }
    }

    /// The losses that keep two groups of agents apart, each whole in itself.
    static func apart(_ some: some Sequence<Int>, from others: some Sequence<Int>) -> Set<Loss> {
        let others = Array(others)
        return Set(
            some.flatMap { one in others.flatMap { [Loss(from: one, to: $0), Loss(from: $0, to: one)] } }
        )
    }

    // MARK: Removing

    /// Removes what a process made, if anything.
    static func removeAll(of pid: Int32) async {
        for name in namespaces() where name.hasPrefix("\(prefix)\(pid)-") {
            _ = try? await ip("netns delete \(name)")
        }
        // The other end was in a namespace that is gone; the kernel takes its time.
        _ = try? await ip("link delete gws\(pid)")
    }

    /// Removes the network of a container that its agent cannot remove any more; the kernel removes the interfaces that lead into it.
    static func removeNamespace(ofContainer container: String) async {
        for name in namespaces() where name.hasPrefix("godwit-") && name.hasSuffix("-\(container)") {
            _ = try? await ip("netns delete \(name)")
        }
    }

    /// The processes that made networks and are gone.
    static func deadMakers() -> Set<Int32> {
        Set(
            namespaces().filter { $0.hasPrefix(prefix) }.compactMap {
                Int32($0.dropFirst(prefix.count).prefix { $0 != "-" })
            }
        ).filter { !ScenarioRun.isAtWork($0) }
    }

    private static func namespaces() -> [String] { (try? FileSystem.list("/run/netns")) ?? [] }

    static func ip(_ line: String) async throws {
        try await mustRun("ip", line.split(separator: " ").map(String.init))
    }

    static func mustRun(_ program: String, _ arguments: [String], input: String = "") async throws {
        let command = ProgramCommand(program, arguments)
        let result = try await ProcessRunner.run(command, input: Array(input.utf8), timeout: .seconds(60))
        try expect(
            result.isSuccess,
            "`\(program) \(arguments.joined(separator: " "))` failed (install iproute2, util-linux and iptables): \(result.complaint)"
        )
    }
}
