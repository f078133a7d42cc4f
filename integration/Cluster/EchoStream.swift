import Glibc
import LinuxSystem
import Synchronization

/// One connection to `workloads/echo.c` from this process: a message of 4,000 bytes every two milliseconds, and each byte that comes back is compared.
final class EchoStream: Sendable {
    private let socket: OwnedDescriptor
    private let state = Mutex(State())

    struct State: Sendable {
        var sent = 0
        var received = 0
        /// What went wrong first; nil while nothing has.
        var fault: String?
        var longestGap: Int64 = 0
        var last = MonotonicClock.nanoseconds()
        var isStopping = false
        var hasEnded = false
    }

    /// A repetition or an omission of any length shows.
    private static func byte(_ place: Int) -> UInt8 {
        UInt8(truncatingIfNeeded: (UInt64(place) &* 0x9E37_79B9_7F4A_7C15) >> 56)
    }

    /// Connects; throws when nobody listens.
    init(to host: String, port: UInt16) throws {
        let number = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var place = sockaddr_in()
        place.sin_family = sa_family_t(AF_INET)
        place.sin_port = port.bigEndian
        place.sin_addr.s_addr = unsafe inet_addr(host)
        let connected = unsafe withUnsafePointer(to: &place) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe connect(number, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard connected == 0 else {
            close(number)
            throw SystemError.last("connect to", host)
        }
        socket = OwnedDescriptor(owning: number)
        try SystemThread.start(name: "echo-send") { [self] in send() }
        try SystemThread.start(name: "echo-receive") { [self] in receive() }
    }

    private func send() {
        var place = 0
        while !state.withLock({ $0.isStopping || $0.fault != nil }) {
            let message = (0..<4000).map { Self.byte(place + $0) }
            do { try socket.write(message) } catch { return fail("sending: \(error)") }
            place += message.count
            state.withLock { $0.sent = place }
            usleep(2000)
        }
        shutdown(socket.rawValue, Int32(SHUT_WR))
    }

    private func receive() {
        var place = 0
        while true {
            let bytes: [UInt8]
            do { bytes = try socket.read(upTo: 65536) } catch { return fail("receiving at \(place): \(error)") }
            guard !bytes.isEmpty else { return state.withLock { $0.hasEnded = true } }
            for (index, byte) in bytes.enumerated() where byte != Self.byte(place + index) {
                return fail("byte \(place + index) is not what was sent")
            }
            place += bytes.count
            let now = MonotonicClock.nanoseconds()
            state.withLock { state in
                state.received = place
                state.longestGap = max(state.longestGap, now - state.last)
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

    var now: State { state.withLock { $0 } }

    /// Waits for more bytes, and returns the longest time without any since this was asked last.
    func flow(_ run: ScenarioRun, within limit: Duration = .seconds(30)) async throws -> Duration {
        let goal = now.received + 20_000
        _ = try await run.eventually("bytes over the connection", within: limit, every: .milliseconds(5)) {
            let state = now
            if let fault = state.fault { throw Broken(fault) }
            return state.received >= goal ? true : nil
        }
        return state.withLock { state in
            defer { state.longestGap = 0 }
            return .nanoseconds(state.longestGap)
        }
    }

    /// Ends sending and waits until everything has come back.
    func finish(_ run: ScenarioRun) async throws {
        state.withLock { $0.isStopping = true }
        let end = try await run.eventually("the end of the stream", every: .milliseconds(5)) {
            now.hasEnded ? now : nil
        }
        try expect(end.fault == nil && end.received == end.sent, "the stream did not come back whole: \(end)")
    }
}
