package import ClusterModel
internal import Glibc
internal import LinuxSystem

/// The bridge that containers with an address of their own join.
package struct ContainerBridge: Sendable, Equatable {
    /// An existing Linux bridge.
    package var name: String
    /// The network namespace that it is in, by its name; nil means this process's own.
    package var namespace: String?
    /// Bytes that are held for one container while it stands still.
    package var holdLimit: ByteCount = .mebibytes(4)

    /// Takes the values as they are; ``capability(_:)`` looks whether they are good.
    package init(name: String, namespace: String? = nil) { (self.name, self.namespace) = (name, namespace) }

    static let cost = "Jobs that ask for an address of their own go to other nodes."

    /// Whether containers can join a bridge of this machine, for people; nil means that none is configured.
    package static func capability(_ name: String?) async -> CapabilityReport {
        func absent(_ detail: String, _ remedy: String) -> CapabilityReport {
            .absent("network.bridge", detail, cost: cost, remedy: remedy)
        }
        guard let name else {
            return absent(
                "not configured",
                "Make a bridge, and name it and its network (network.bridge, network.subnet)."
            )
        }
        let missing = ["ip", "bridge"].filter { Tool.find($0) == nil }
        guard missing.isEmpty, let tool = try? Tool("ip", package: "iproute2") else {
            return absent("no \(missing.joined(separator: " and "))", "Install iproute2: apt-get install iproute2")
        }
        // Not /sys/class/net, which shows the namespace that it was mounted in.
        let arguments = ["-oneline", "-details", "link", "show", "dev", name]
        guard let result = try? await tool.run(arguments, timeout: .seconds(10)), result.isSuccess else {
            let remedy = "Make it (`ip link add \(name) type bridge`), or correct network.bridge."
            return absent("no interface \(name)", remedy)
        }
        let words = result.outputText.split { $0 == " " || $0 == "\\" }
        guard let kind = words.firstIndex(of: "bridge"), words[kind...].contains("stp_state") else {
            return absent(
                "\(name) is no bridge",
                "Name a bridge as network.bridge; `ip link show type bridge` lists them."
            )
        }
        guard let state = words.firstIndex(of: "stp_state"), words[words.index(after: state)] == "0" else {
            return absent(
                "\(name) runs the spanning tree protocol, with which a container is cut off for half a minute",
                "Switch it off (`ip link set \(name) type bridge stp_state 0`), or take another bridge."
            )
        }
        guard
            words.contains(where: {
                $0.hasPrefix("<") && $0.dropFirst().dropLast().split(separator: ",").contains("UP")
            })
        else { return absent("\(name) is down", "Set it up: ip link set \(name) up") }
        guard (try? OwnedDescriptor(opening: "/dev/net/tun", O_RDWR)) != nil else {
            let remedy =
                "Load it (`modprobe tun`) and run the agent as root; what arrives for frozen containers is held with it."
            return absent("no TAP devices (/dev/net/tun)", remedy)
        }
        return .present("network.bridge", name)
    }
}

/// The interfaces of one container: a pair, one end in the container's network namespace and one on the bridge.
///
/// All names follow from the container's, so that whatever an agent left half-made is found and removed by the next.
struct ContainerLink: Sendable {
    let bridge: ContainerBridge
    /// The container's network namespace, by name.
    let namespace: String
    /// The end that is on the bridge.
    let host: String
    /// The TAP device, while there is one.
    let hold: String

    /// `place` tells agents of one machine apart: the folder of their state.
    init(_ id: ContainerID, on bridge: ContainerBridge, place: String) {
        self.bridge = bridge
        namespace = Self.namespace(id, place: place)
        // Fifteen characters are all that a name may have.
        let hash = Self.hex(Self.hash("\(place)\n\(id)"), 12)
        (host, hold) = ("gw\(hash)", "gh\(hash)")
    }

    static func namespace(_ id: ContainerID, place: String) -> String { "\(prefix(place))\(id)" }

    /// The same for all containers of one agent.
    static func prefix(_ place: String) -> String { "godwit-\(hex(hash(place), 6))-" }

    /// FNV-1a.
    private static func hash(_ text: String) -> UInt64 {
        text.utf8.reduce(0xCBF2_9CE4_8422_2325) { ($0 ^ UInt64($1)) &* 0x0000_0100_0000_01B3 }
    }

    private static func hex(_ number: UInt64, _ count: Int) -> String {
        String((String(repeating: "0", count: 16) + String(number, radix: 16)).suffix(count))
    }

    static func text(_ hardwareAddress: [UInt8]) -> String {
        hardwareAddress.map { $0 < 16 ? "0" + String($0, radix: 16) : String($0, radix: 16) }.joined(separator: ":")
    }

    // MARK: Making and removing

    /// Makes namespace and interfaces, which are not connected to the bridge yet; what of it was there before is removed first.
    func make(_ network: ContainerNetwork) async throws {
        try await remove()
        let own = Self.text(network.hardwareAddress)
        try await keepAddressOfBridge()
        try await run("ip", ["netns", "add", namespace])
        try await run(
            "ip",
            in: bridge.namespace,
            [
                "link add \(host) address \(Self.portAddress()) type veth peer name eth0 address \(own) netns \(namespace)",
                "link set \(host) up",
            ]
        )
        // Addresses of IPv6 would make the container known before its time.
        await withoutIPv6("eth0", in: namespace)
        var lines = ["link set lo up", "address add \(network.address) dev eth0", "link set eth0 up"]
        if let gateway = network.gateway { lines.append("route add default via \(gateway)") }
        try await run("ip", in: namespace, lines)
    }

    /// Higher than that of any other port: a bridge that was given no address takes the lowest of its ports'.
    ///
    /// And not the same at two nodes: a bridge keeps what is sent to the address of one of its ports, wherever that was meant to go.
    private static func portAddress() -> String {
        text([0xFE, 0xFF, 0xFF] + (0..<3).map { _ in UInt8.random(in: .min ... .max) })
    }

    /// A bridge without ports would take the address of the first that comes, and who knows it by the one before would not reach it any more.
    ///
    /// Given the address that it has, it keeps it.
    private func keepAddressOfBridge() async throws {
        guard try await lines(["link", "show", "master", bridge.name]).isEmpty,
            let words = try await lines(["link", "show", "dev", bridge.name]).first?.split(separator: " "),
            let kind = words.firstIndex(of: "link/ether"), kind + 1 < words.endIndex
        else { return }
        try await run("ip", in: bridge.namespace, ["link set \(bridge.name) address \(words[kind + 1])"])
    }

    private func lines(_ arguments: [String]) async throws -> [Substring] {
        let place = bridge.namespace.map { ["-n", $0] } ?? []
        return try await Self.run("ip", place + ["-oneline"] + arguments).split(separator: "\n")
    }

    private func withoutIPv6(_ interface: String, in place: String?) async {
        try? await NetworkNamespace.run(in: place) { () throws(SystemError) in
            try FileSystem.writeValue("1", to: "/proc/sys/net/ipv6/conf/\(interface)/disable_ipv6")
        }
    }

    /// Connects the container with the bridge: from here on it can send, and answers who asks for its address.
    func join() async throws {
        try await run("ip", in: bridge.namespace, ["link set \(host) master \(bridge.name) up"])
        try await forward(host)
    }

    /// Has the bridge use a port.
    ///
    /// The kernel takes up to a second to believe that an interface works (link watch), in which the bridge refuses that and all frames are lost; newer ones
    /// look at once when they are asked for the interface.
    private func forward(_ port: String) async throws {
        let deadline = ContinuousClock.now + .seconds(3)
        while true {
            do { return try await run("bridge", in: bridge.namespace, ["link set dev \(port) state 3"]) } catch {
                guard ContinuousClock.now < deadline else { throw error }
                try await run("ip", (bridge.namespace.map { ["-n", $0] } ?? []) + ["link", "show", "dev", port])
                try await Task.sleep(for: .milliseconds(2))
            }
        }
    }

    /// Has the bridge send the container's frames to the container, in whatever way it did before.
    func attach(_ network: ContainerNetwork) async throws {
        let own = Self.text(network.hardwareAddress)
        try await run(
            "bridge",
            in: bridge.namespace,
            ["link set dev \(host) state 3", "fdb replace \(own) dev \(host) master static"]
        )
    }

    /// Has the bridge send the container's frames to the TAP device, which is made known to it before.
    func divert(_ network: ContainerNetwork) async throws {
        let own = Self.text(network.hardwareAddress)
        await withoutIPv6(hold, in: bridge.namespace)
        try await run(
            "ip",
            in: bridge.namespace,
            [
                "link set \(hold) address \(Self.portAddress()) txqueuelen 4096",
                "link set \(hold) master \(bridge.name) up",
            ]
        )
        try await forward(hold)
        // Sticky: what the container itself still sends must not lead the bridge back to it.
        try await run("bridge", in: bridge.namespace, ["fdb replace \(own) dev \(hold) master static sticky"])
    }

    /// Lets nothing more of the container out, nor anything in.
    func cut() async throws { try await run("bridge", in: bridge.namespace, ["link set dev \(host) state 0"]) }

    /// As ``cut()``, and has the bridge forget where the container was.
    func release(_ network: ContainerNetwork) async throws {
        let own = Self.text(network.hardwareAddress)
        try await run(
            "bridge",
            in: bridge.namespace,
            ["link set dev \(host) state 0", "fdb del \(own) dev \(hold) master"]
        )
    }

    /// Undoes ``cut()``.
    func open() async throws { try await forward(host) }

    /// Takes away whatever there is; nothing there is no error.
    func remove() async throws { try await Self.remove(namespace, host: host, in: bridge.namespace) }

    /// The same, when no bridge is configured any more.
    static func remove(_ namespace: String, host: String? = nil, in place: String? = nil) async throws {
        guard FileSystem.exists(NetworkNamespace.path(namespace)) else { return }
        // At once, where the namespace goes only when the last that is in it is gone.
        if let host { _ = try? await run("ip", in: place, ["link delete \(host)"]) }
        try await run("ip", ["netns", "delete", namespace])
    }

    // MARK: Programs

    /// One program for all lines: they take effect in order, and those after one that fails are not carried out.
    private static func run(_ program: String, in namespace: String?, _ lines: [String]) async throws {
        let place = namespace.map { ["-n", $0] } ?? []
        try await run(program, place + ["-batch", "-"], lines)
    }

    private func run(_ program: String, in namespace: String?, _ lines: [String]) async throws {
        try await Self.run(program, in: namespace, lines)
    }

    private func run(_ program: String, _ arguments: [String]) async throws { try await Self.run(program, arguments) }

    @discardableResult
    private static func run(
        _ program: String,
        _ arguments: [String],
        _ lines: [String] = []
    ) async throws -> String {
        let result = try await Tool(program, package: "iproute2").run(
            arguments,
            input: lines.map { "\($0)\n" }.joined(),
            timeout: .seconds(30)
        )
        if result.isSuccess { return result.outputText }
        let words = lines.isEmpty ? arguments.joined(separator: " ") : lines.joined(separator: "; ")
        throw ContainerError(
            .runtimeFailed,
            "The container's network could not be set up: `\(program) \(words)`: \(lastSentence(of: result.complaint))",
            remedy: "Look at the bridge (`godwitd doctor`).",
            details: result.complaint
        )
    }
}
