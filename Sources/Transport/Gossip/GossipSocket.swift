import Glibc
package import NIO
import Synchronization

/// Sends and receives the datagrams of gossip on one UDP port.
///
/// Sending never waits: what the kernel's queue does not take is dropped and counted, as the network would do, and so is what cannot be
/// sent at all. NIO receives, up to sixteen datagrams with one system call. NIO does not send, because it ends a channel when one
/// destination is forbidden or unreachable, which must not cut a node off from all others.
package final class GossipSocket: Sendable {
    /// What went through since the socket was opened.
    package struct Statistics: Sendable, Equatable {
        /// Datagrams that arrived.
        package var packetsIn: UInt64 = 0
        /// Their bytes, without the headers of UDP and IP.
        package var bytesIn: UInt64 = 0
        /// Datagrams that the kernel took.
        package var packetsOut: UInt64 = 0
        /// Their bytes, without the headers of UDP and IP.
        package var bytesOut: UInt64 = 0
        /// Datagrams that were not sent, and errors while receiving, by the number of the error (`EAGAIN`: a full queue).
        package var failures: [Int32: UInt64] = [:]
    }

    /// Called on the event loop with each datagram that arrives.
    package typealias Receive = @Sendable (_ bytes: [UInt8], _ source: DatagramAddress) -> Void
    /// Called at most once a second, for errors of all kinds together: the last one as a sentence, and how many there were since the
    /// last call.
    package typealias Complain = @Sendable (_ sentence: String, _ count: Int) -> Void

    /// Datagrams taken with one system call.
    private static let batchCount = 16

    /// Where it listens, with the port that it got.
    package let address: DatagramAddress
    private let descriptor: DatagramDescriptor
    private let channel: any Channel
    private let counters: DatagramCounters

    private init(descriptor: DatagramDescriptor, channel: any Channel, counters: DatagramCounters) throws {
        address = try descriptor.boundAddress()
        (self.descriptor, self.channel, self.counters) = (descriptor, channel, counters)
    }

    /// Opens the port and begins to receive.
    ///
    /// Port 0 takes a free one. `datagramByteLimit` is the largest datagram that is expected; of a larger one the end is missing.
    /// - Throws: `GossipSocketError` when the address cannot be had.
    package static func open(
        _ address: DatagramAddress,
        datagramByteLimit: Int,
        eventLoop: any EventLoop,
        complain: @escaping Complain,
        receive: @escaping Receive
    ) async throws -> GossipSocket {
        let descriptor = try DatagramDescriptor(address)
        let counters = DatagramCounters(complain: complain)
        let channel = try await DatagramBootstrap(group: eventLoop)
            .channelOption(.datagramVectorReadMessageCount, value: batchCount)
            .channelOption(
                .recvAllocator,
                value: FixedSizeRecvByteBufferAllocator(capacity: batchCount * datagramByteLimit)
            )
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(DatagramInput(counters: counters, receive: receive))
                }
            }
            .withBoundSocket(try descriptor.duplicate()).get()
        return try GossipSocket(descriptor: descriptor, channel: channel, counters: counters)
    }

    /// Sends one datagram, or drops and counts it.
    package func send(_ bytes: [UInt8], to destination: DatagramAddress) {
        let failure = descriptor.send(bytes, to: destination)
        guard failure == 0 else { return counters.note(failure: failure, "send to \(destination)") }
        counters.change {
            $0.packetsOut += 1
            $0.bytesOut += UInt64(bytes.count)
        }
    }

    /// What went through until now.
    package var statistics: Statistics { counters.statistics }

    /// Receives no more.
    package func close() async { try? await channel.close().get() }
}

/// Why a port for gossip cannot be had; the text says what to do.
package struct GossipSocketError: Error, Sendable, CustomStringConvertible {
    /// Where it was tried.
    package let address: DatagramAddress
    /// `errno`.
    package let number: Int32

    package var description: String {
        let remedy =
            switch number {
            case EADDRINUSE: "another process has this UDP port; stop it, or choose another port (listen.port)"
            case EADDRNOTAVAIL: "this machine does not have that address; choose another (listen.address)"
            case EACCES, EPERM: "ports below 1024 need the right to take them; choose another (listen.port)"
            case EMFILE, ENFILE: "too many files are open; raise the limit of the service"
            default: "check listen.address and listen.port"
            }
        return "cannot receive gossip on UDP \(address): \(Self.reason(number)); \(remedy)"
    }

    static func reason(_ number: Int32) -> String { unsafe String(cString: strerror(number)) }
}

/// Counts for all threads, and holds complaints back.
final class DatagramCounters: Sendable {
    private struct State {
        var statistics = GossipSocket.Statistics()
        var unsaid = 0
        var saidAt: NIODeadline?
    }

    private let state = Mutex(State())
    private let complain: GossipSocket.Complain

    init(complain: @escaping GossipSocket.Complain) { self.complain = complain }

    var statistics: GossipSocket.Statistics { state.withLock { $0.statistics } }

    func change(_ body: (inout GossipSocket.Statistics) -> Void) { state.withLock { body(&$0.statistics) } }

    /// Counts an error, and speaks of it unless it was spoken of errors within the last second.
    func note(failure number: Int32, _ doing: @autoclosure () -> String) {
        let now = NIODeadline.now()
        let count: Int? = state.withLock { state in
            state.statistics.failures[number, default: 0] += 1
            state.unsaid += 1
            if let saidAt = state.saidAt, now - saidAt < .seconds(1) { return nil }
            defer { (state.unsaid, state.saidAt) = (0, now) }
            return state.unsaid
        }
        guard let count else { return }
        complain("cannot \(doing()): \(GossipSocketError.reason(number))", count)
    }
}

/// Takes datagrams off the channel.
private final class DatagramInput: ChannelInboundHandler, Sendable {
    typealias InboundIn = AddressedEnvelope<ByteBuffer>

    private let counters: DatagramCounters
    private let receive: GossipSocket.Receive

    init(counters: DatagramCounters, receive: @escaping GossipSocket.Receive) {
        (self.counters, self.receive) = (counters, receive)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let envelope = unwrapInboundIn(data)
        counters.change {
            $0.packetsIn += 1
            $0.bytesIn += UInt64(envelope.data.readableBytes)
        }
        guard let source = DatagramAddress(envelope.remoteAddress) else { return }
        receive(Array(envelope.data.readableBytesView), source)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        counters.note(failure: (error as? IOError)?.errnoCode ?? 0, "receive gossip")
    }
}

/// A bound UDP socket, for sending; closed with the last reference.
final class DatagramDescriptor: Sendable {
    private static let bufferBytes: Int32 = 1 << 20

    private let number: Int32
    private let isInet6: Bool
    private let wanted: DatagramAddress

    init(_ address: DatagramAddress) throws(GossipSocketError) {
        wanted = address
        isInet6 = address.ipv4 == nil
        number = socket(
            isInet6 ? AF_INET6 : AF_INET,
            Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue),
            0
        )
        guard number >= 0 else { throw GossipSocketError(address: address, number: errno) }
        var (no, size): (Int32, Int32) = (0, Self.bufferBytes)
        let length = socklen_t(MemoryLayout<Int32>.size)
        // `::` is every address of both families; what the kernel does not allow of the buffer's size it leaves out.
        if isInet6 { unsafe setsockopt(number, Int32(IPPROTO_IPV6), IPV6_V6ONLY, &no, length) }
        unsafe setsockopt(number, SOL_SOCKET, SO_RCVBUF, &size, length)
        // `deinit` closes the socket also when this throws.
        let bound = unsafe address.withSocketAddress(isInet6: isInet6) { unsafe bind(number, $0, $1) }
        guard bound == 0 else { throw GossipSocketError(address: address, number: errno) }
    }

    deinit { close(number) }

    /// Another descriptor of the same socket, which the receiver owns.
    func duplicate() throws(GossipSocketError) -> Int32 {
        let other = fcntl(number, F_DUPFD_CLOEXEC, 0)
        guard other >= 0 else { throw GossipSocketError(address: wanted, number: errno) }
        return other
    }

    func boundAddress() throws(GossipSocketError) -> DatagramAddress {
        if isInet6 {
            var address = sockaddr_in6()
            guard named(&address) else { throw GossipSocketError(address: wanted, number: errno) }
            return DatagramAddress(address.sin6_addr, port: UInt16(bigEndian: address.sin6_port))
        }
        var address = sockaddr_in()
        guard named(&address) else { throw GossipSocketError(address: wanted, number: errno) }
        return DatagramAddress(
            ipv4: UInt32(bigEndian: address.sin_addr.s_addr),
            port: UInt16(bigEndian: address.sin_port)
        )
    }

    private func named<Address>(_ address: inout Address) -> Bool {
        var length = socklen_t(MemoryLayout<Address>.size)
        return unsafe withUnsafeMutableBytes(of: &address) { bytes in
            guard let base = bytes.baseAddress else { return false }
            return unsafe getsockname(number, base.assumingMemoryBound(to: sockaddr.self), &length) == 0
        }
    }

    /// Zero, or `errno`.
    func send(_ bytes: [UInt8], to destination: DatagramAddress) -> Int32 {
        if !isInet6, destination.ipv4 == nil { return EAFNOSUPPORT }
        return unsafe destination.withSocketAddress(isInet6: isInet6) { address, length in
            while true {
                if unsafe sendto(number, bytes, bytes.count, Int32(MSG_DONTWAIT), address, length) >= 0 {
                    return 0
                }
                if errno != EINTR { return errno }
            }
        }
    }
}
