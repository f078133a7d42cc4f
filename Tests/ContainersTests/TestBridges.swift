import ClusterModel
import Containers
import Glibc
import LinuxSystem
import Synchronization

/// Two bridges, each in a namespace of its own and joined by a wire, and a namespace beside the first from which clients speak.
struct TestBridges {
    private let name: String

    var first: ContainerBridge { ContainerBridge(name: "br0", namespace: "\(name)-one") }
    var second: ContainerBridge { ContainerBridge(name: "br0", namespace: "\(name)-two") }
    /// Where the clients are.
    var outside: String { "\(name)-out" }

    /// Makes the namespaces, runs the test, and removes them.
    static func run(_ body: (TestBridges) async throws -> Void) async throws {
        let bridges = TestBridges(name: "gwtest-\(getpid())-\(UInt32.random(in: 0..<0xFFFF))")
        do {
            try await bridges.make()
            try await body(bridges)
            await bridges.remove()
        } catch {
            await bridges.remove()
            throw error
        }
    }

    private func make() async throws {
        for place in ["one", "two", "out"] { try await ip("netns add \(name)-\(place)") }
        for place in ["one", "two"] {
            try await ip("-n \(name)-\(place) link add br0 type bridge")
            try await ip("-n \(name)-\(place) link set br0 up")
        }
        try await ip("-n \(name)-one link add wire type veth peer name wire netns \(name)-two")
        try await ip("-n \(name)-one link set wire master br0 up")
        try await ip("-n \(name)-two link set wire master br0 up")
        try await ip("-n \(name)-one link add client type veth peer name eth0 netns \(outside)")
        try await ip("-n \(name)-one link set client master br0 up")
        try await ip("-n \(outside) address add 10.77.0.200/24 dev eth0")
        try await ip("-n \(outside) link set eth0 up")
        // The kernel takes up to a second to believe that the wire is there.
        for (place, ports) in [("one", 2), ("two", 1)] {
            let command = ProgramCommand("bridge", ["-n", "\(name)-\(place)", "link", "show"])
            for _ in 0..<2000 {
                let shown = try await ProcessRunner.run(command, timeout: .seconds(30)).outputText
                if shown.split(separator: "\n").count(where: { $0.contains("state forwarding") }) == ports { break }
                try await Task.sleep(for: .milliseconds(2))  // polls: what the bridge makes of its ports
            }
        }
    }

    private func remove() async {
        for place in ["one", "two", "out"] { _ = try? await ip("netns delete \(name)-\(place)") }
    }

    /// The hardware address of a bridge.
    func address(of bridge: ContainerBridge) async throws -> String {
        let words = try await ip("-n \(bridge.namespace ?? "") -o link show dev \(bridge.name)").split(separator: " ")
        guard let kind = words.firstIndex(of: "link/ether") else { throw Missing("no address: \(words)") }
        return String(words[kind + 1])
    }

    @discardableResult
    func ip(_ line: String) async throws -> String {
        let command = ProgramCommand("ip", line.split(separator: " ").map(String.init))
        let result = try await ProcessRunner.run(command, timeout: .seconds(30))
        guard result.isSuccess else { throw Missing("ip \(line): \(result.complaint) (apt-get install iproute2)") }
        return result.outputText
    }
}

/// One connection from outside to a container that sends back what it gets: a message each millisecond, and each byte that comes back is compared.
final class EchoClient: Sendable {
    private let socket: OwnedDescriptor
    private let state = Mutex(State())

    struct State {
        var sent = 0
        var received = 0
        /// The first byte that was not what was sent, with its place.
        var fault: String?
        /// Nanoseconds since the last byte came, the longest.
        var longestGap: Int64 = 0
        var last: Int64 = 0
        var isStopping = false
        var hasEnded = false
    }

    /// Byte `place` of the stream: a repetition or an omission of any length shows.
    private static func byte(_ place: Int) -> UInt8 {
        UInt8(truncatingIfNeeded: (UInt64(place) &* 0x9E37_79B9_7F4A_7C15) >> 56)
    }

    /// Connects from a namespace; tries for as long as the container is still starting.
    init(from namespace: String, to address: IPv4Address) async throws {
        let number = try await NetworkNamespace.run(in: namespace) { () throws(SystemError) -> Int32 in
            for _ in 0..<3000 {
                let number = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
                var place = sockaddr_in()
                place.sin_family = sa_family_t(AF_INET)
                place.sin_port = in_port_t(7000).bigEndian
                place.sin_addr.s_addr = address.rawValue.bigEndian
                let connected = unsafe withUnsafePointer(to: &place) { pointer in
                    unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                        unsafe connect(number, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
                    }
                }
                if connected == 0 { return number }
                close(number)
                usleep(10_000)  // polls: the program that listens
            }
            throw SystemError.last("connect to", address.description)
        }
        socket = OwnedDescriptor(owning: number)
        try SystemThread.start(name: "echo-send") { [self] in send() }
        try SystemThread.start(name: "echo-receive") { [self] in receive() }
    }

    private func send() {
        let number = socket.rawValue
        var place = 0
        while !state.withLock({ $0.isStopping }) {
            let message = (0..<1000).map { Self.byte(place + $0) }
            var done = 0
            while done < message.count {
                let count = unsafe message[done...].withUnsafeBytes {
                    unsafe Glibc.send(number, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
                }
                guard count > 0 else { return fail("sending failed at \(place + done): errno \(errno)") }
                done += count
            }
            place += message.count
            state.withLock { $0.sent = place }
            usleep(1000)  // polls: the rhythm of the messages
        }
        shutdown(number, Int32(SHUT_WR))
    }

    private func receive() {
        var buffer = [UInt8](repeating: 0, count: 65536)
        var place = 0
        while true {
            let count = unsafe Glibc.read(socket.rawValue, &buffer, buffer.count)
            guard count > 0 else {
                if count < 0 { fail("receiving failed at \(place): errno \(errno)") }
                return state.withLock { $0.hasEnded = true }
            }
            for index in 0..<count where buffer[index] != Self.byte(place + index) {
                fail("byte \(place + index) is not what was sent")
                break
            }
            place += count
            let now = MonotonicClock.nanoseconds()
            state.withLock { state in
                state.received = place
                if state.last > 0 { state.longestGap = max(state.longestGap, now - state.last) }
                state.last = now
            }
        }
    }

    private func fail(_ what: String) {
        state.withLock { state in
            state.fault = state.fault ?? what
            state.hasEnded = true
        }
    }

    /// How things stand.
    var now: State { state.withLock { $0 } }

    /// The longest time without a byte since this was last asked; what goes on now counts.
    func takeLongestGap() -> Duration {
        state.withLock { state in
            let now = MonotonicClock.nanoseconds()
            let gap = max(state.longestGap, now - state.last)
            (state.longestGap, state.last) = (0, now)
            return .nanoseconds(gap)
        }
    }

    /// Waits until so many more bytes have come back, or something is wrong.
    func flow(_ bytes: Int = 20_000) async throws {
        let goal = now.received + bytes
        let deadline = ContinuousClock.now + .seconds(30)
        while now.received < goal, !now.hasEnded, ContinuousClock.now < deadline {
            try await Task.sleep(for: .milliseconds(1))  // polls: what the other thread receives
        }
        if now.received < goal { throw Missing("the connection is silent: \(now)") }
    }

    /// Ends sending and waits until everything has come back.
    func finish() async throws -> State {
        state.withLock { $0.isStopping = true }
        let deadline = ContinuousClock.now + .seconds(30)
        while !now.hasEnded, ContinuousClock.now < deadline {
            try await Task.sleep(for: .milliseconds(1))  // polls: the end of the stream
        }
        return now
    }
}
