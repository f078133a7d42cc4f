import ClusterModel
import Containers
import Glibc
import LinuxSystem
import Testing

@Suite(.serialized) struct NetworkTests {
    private static let network = ContainerNetwork(
        address: IPv4Prefix(IPv4Address(rawValue: 0x0A4D_0007), length: 24),
        gateway: IPv4Address(rawValue: 0x0A4D_0001)
    )

    /// How much longer than the container stands still its peer may wait; a machine full of other tests now and then takes more to wake it.
    private static let allowance = Duration.milliseconds(100)

    private static func milliseconds(_ duration: Duration) -> Int64 { duration.nanoseconds / 1_000_000 }

    @Test func `A container has its address, the same hardware address everywhere, and leaves nothing`() async throws {
        try await TestBridges.run { bridges in
            try await TestNode.run(bridge: bridges.first) { node in
                let running = try await node.runtime.start(
                    node.request("a-1", ["/probe", "echo"]) {
                        $0.network = Self.network
                        $0.hostname = "own"
                    }
                )
                _ = try await node.line(of: running.id) { $0 == "ready" }
                let client = try await EchoClient(from: bridges.outside, to: Self.network.address.address)
                try await client.flow()
                let neighbours = try await bridges.ip("-n \(bridges.outside) neighbour show")
                #expect(neighbours.contains("02:67:0a:4d:00:07"))
                let hosts = try FileSystem.readText("\(node.folder)/state/containers/a-1/etc/hosts")
                #expect(hosts.contains("10.77.0.7\town\n"))
                let end = try await client.finish()
                #expect(end.fault == nil && end.received == end.sent)
                #expect(try await node.runtime.exit(of: running.id).isSuccess)
                let before = try await bridges.ip("-n \(bridges.first.namespace ?? "") -o link show master br0")
                #expect(before.split(separator: "\n").count == 3, "\(before)")
                try await node.runtime.remove(running.id)
                let after = try await bridges.ip("-n \(bridges.first.namespace ?? "") -o link show master br0")
                #expect(after.split(separator: "\n").count == 2, "\(after)")
                let namespaces = try node.namespaces()
                #expect(namespaces.isEmpty)
            }
        }
    }

    /// Else everything else on that node would be cut off from who knows the bridge by its address.
    @Test(arguments: [false, true])
    func `The bridge keeps its address while containers come and go`(hasOtherPorts: Bool) async throws {
        try await TestBridges.run { bridges in
            let bridge = bridges.first
            let place = bridge.namespace ?? ""
            for (port, last) in [("wire", 1), ("client", 2)] {
                // Interfaces of machines have such addresses seldom, those that the kernel draws now and then.
                let change = hasOtherPorts ? "address fe:ff:00:00:00:0\(last)" : "nomaster"
                try await bridges.ip("-n \(place) link set \(port) \(change)")
            }
            let own = try await bridges.address(of: bridge)
            if hasOtherPorts { #expect(own == "fe:ff:00:00:00:01") }
            try await TestNode.run(bridge: bridge) { node in
                for number in 1...2 {
                    let running = try await node.runtime.start(
                        node.request("a-\(number)", ["/probe", "echo"]) { $0.network = Self.network }
                    )
                    #expect(try await bridges.address(of: bridge) == own)
                    try await node.runtime.kill(running.id)
                    try await node.runtime.remove(running.id)
                    #expect(try await bridges.address(of: bridge) == own)
                }
            }
        }
    }

    @Test func `What an agent left locked when it was killed goes on with the next one`() async throws {
        try await TestBridges.run { bridges in
            try await TestNode.run(bridge: bridges.first) { node in
                let running = try await node.runtime.start(
                    node.request("a-1", ["/probe", "echo"]) { $0.network = Self.network }
                )
                let client = try await EchoClient(from: bridges.outside, to: Self.network.address.address)
                try await client.flow()
                let options = CheckpointOptions(
                    folder: try node.memoryFolder(),
                    afterwards: .stayFrozen,
                    tcpEstablished: true
                )
                _ = try await node.runtime.checkpoint(running.id, options)
                #expect(node.runtime.isNetworkLocked(of: running.id))
                try await bridges.ip("netns add \(node.runtime.networkPrefix)gone-1")
                // Another runtime knows nothing of the hold, as after a crash.
                let criu = await NodeFacts.shared.value.criu
                let next = try ContainerRuntime(node.configuration, slice: node.slice, criu: criu)
                #expect(try await next.adopt().map(\.wasThawed) == [true])
                let namespaces = try node.namespaces()
                #expect(namespaces.count == 1, "a namespace that belongs to nothing must go")
                try await client.flow()
                let end = try await client.finish()
                #expect(end.fault == nil && end.received == end.sent)
                try await node.runtime.unlockNetwork(of: running.id)
            }
        }
    }

    @Test(arguments: [
        (nil, "not configured"), ("godwit-none", "no interface godwit-none"), ("lo", "lo is no bridge"),
    ])
    func `A node whose bridge will not do says why, and what to do`(name: String?, detail: String) async {
        let report = await ContainerBridge.capability(name)
        #expect(report.name == "network.bridge" && !report.isPresent && !report.isRequired)
        #expect(report.detail == detail)
        #expect(!report.remedy.isEmpty && report.cost == "Jobs that ask for an address of their own go to other nodes.")
    }

    @Test func `A start without a bridge, or with one that is not there, is refused and leaves nothing`() async throws {
        try await TestNode.run { node in
            let request = node.request("a-1", ["/probe", "wait"]) { $0.network = Self.network }
            let error = await #expect(throws: ContainerError.self) { try await node.runtime.start(request) }
            #expect(error?.code == .settingInvalid && error?.remedy.contains("network.bridge") == true)
        }
        try await TestBridges.run { bridges in
            var bridge = bridges.first
            bridge.name = "br7"
            try await TestNode.run(bridge: bridge) { node in
                let request = node.request("a-1", ["/probe", "wait"]) { $0.network = Self.network }
                let error = await #expect(throws: ContainerError.self) { try await node.runtime.start(request) }
                #expect(error?.reason.contains("master br7") == true)
                let namespaces = try node.namespaces()
                let containers = try FileSystem.list("\(node.folder)/state/containers")
                #expect(namespaces.isEmpty && containers.isEmpty)
            }
        }
    }

    @Test func `A connection loses nothing over checkpoints, and stalls no longer than the container stands still`()
        async throws
    {
        try await TestBridges.run { bridges in
            try await TestNode.run(bridge: bridges.first) { node in
                let running = try await node.runtime.start(
                    node.request("a-1", ["/probe", "echo"]) { $0.network = Self.network }
                )
                let client = try await EchoClient(from: bridges.outside, to: Self.network.address.address)
                let options = CheckpointOptions(folder: try node.memoryFolder(), tcpEstablished: true)
                var figures: [String] = []
                var late = 0
                for _ in 0..<10 {
                    try await client.flow()
                    _ = client.takeLongestGap()
                    let dump = try await node.runtime.checkpoint(running.id, options)
                    try await client.flow()
                    let stall = client.takeLongestGap()
                    #expect(client.now.fault == nil)
                    #expect(dump.held.frames > 0 && dump.held.dropped == 0)
                    if stall > dump.frozen + Self.allowance { late += 1 }
                    figures.append("\(Self.milliseconds(dump.frozen))/\(Self.milliseconds(stall))")
                }
                #expect(late <= 2, "\(figures)")
                print("frozen/stall in ms:", figures.joined(separator: " "))
                let end = try await client.finish()
                #expect(end.fault == nil && end.received == end.sent)
            }
        }
    }

    @Test func `Without room to hold what arrives, nothing is lost either, but peers wait until they send again`()
        async throws
    {
        try await TestBridges.run { bridges in
            var bridge = bridges.first
            bridge.holdLimit = .zero
            try await TestNode.run(bridge: bridge) { node in
                let running = try await node.runtime.start(
                    node.request("a-1", ["/probe", "echo"]) { $0.network = Self.network }
                )
                let client = try await EchoClient(from: bridges.outside, to: Self.network.address.address)
                let options = CheckpointOptions(folder: try node.memoryFolder(), tcpEstablished: true)
                var figures: [String] = []
                for _ in 0..<3 {
                    try await client.flow()
                    _ = client.takeLongestGap()
                    let dump = try await node.runtime.checkpoint(running.id, options)
                    #expect(dump.held.frames == 0 && dump.held.dropped > 0)
                    try await client.flow()
                    let stall = client.takeLongestGap()
                    figures.append("\(Self.milliseconds(dump.frozen))/\(Self.milliseconds(stall))")
                }
                print("without the hold, frozen/stall in ms:", figures.joined(separator: " "))
                let end = try await client.finish()
                #expect(end.fault == nil && end.received == end.sent)
            }
        }
    }

    /// With all of its memory, and before it.
    @Test(arguments: [false, true])
    func `A connection follows its container from node to node`(_ isLazy: Bool) async throws {
        try await TestBridges.run { bridges in
            try await TestNode.run(bridge: bridges.first) { one in
                try await TestNode.run(bridge: bridges.second) { two in
                    var id = ContainerID(rawValue: "a-1")
                    _ = try await one.runtime.start(
                        one.request("a-1", ["/probe", "echo"]) { $0.network = Self.network }
                    )
                    let client = try await EchoClient(from: bridges.outside, to: Self.network.address.address)
                    var figures: [String] = []
                    var late = 0
                    for round in 0..<(isLazy ? 4 : 6) {
                        let (from, to) = round % 2 == 0 ? (one, two) : (two, one)
                        let next = ContainerID(rawValue: "a-\(round + 2)")
                        try await client.flow()
                        _ = client.takeLongestGap()
                        let began = MonotonicClock.nanoseconds()
                        let folder = try from.memoryFolder()
                        var request = RestoreRequest(id: next, image: to.image, folder: folder)
                        (request.tcpEstablished, request.network, request.staysLocked) = (true, Self.network, true)
                        var memory: FrozenMemory?
                        if isLazy {
                            memory = try await from.runtime.dumpLazily(id, folder: folder, tcpEstablished: true).memory
                            request.pages = memory
                        } else {
                            let options = CheckpointOptions(
                                folder: folder,
                                afterwards: .stayFrozen,
                                tcpEstablished: true
                            )
                            _ = try await from.runtime.checkpoint(id, options)
                        }
                        _ = try await to.runtime.restore(request)
                        let held = try await from.runtime.handOverNetwork(of: id)
                        #expect(!held.isEmpty)
                        try await to.runtime.inject(held, into: next)
                        try await to.runtime.announce(next)
                        try await to.runtime.unlockNetwork(of: next)
                        let downtime = Duration.nanoseconds(MonotonicClock.nanoseconds() - began)
                        if let memory {
                            let arrival = await to.runtime.arrival(of: next)?.end()
                            if case .complete? = arrival?.0 {} else { Issue.record("\(String(describing: arrival))") }
                            try await memory.complete()
                        }
                        try await from.runtime.kill(id)
                        try await from.runtime.remove(id)
                        try await client.flow()
                        let stall = client.takeLongestGap()
                        #expect(client.now.fault == nil)
                        if stall > downtime + Self.allowance { late += 1 }
                        figures.append("\(Self.milliseconds(downtime))/\(Self.milliseconds(stall))")
                        id = next
                    }
                    #expect(late <= 1, "\(figures)")
                    print("downtime/stall in ms:", figures.joined(separator: " "))
                    let end = try await client.finish()
                    #expect(end.fault == nil && end.received == end.sent)
                }
            }
        }
    }
}
