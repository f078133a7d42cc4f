import ClusterModel
import Logging
import NIO
import SWIM
import Synchronization
import Transport

/// What carries sealed datagrams: a UDP port, or its twin in memory.
protocol GossipLink: Sendable {
    /// Begins to hand over what arrives, on the event loop of the shell; called once.
    func start(_ receive: @escaping @Sendable (_ bytes: [UInt8], _ source: MemberEndpoint) -> Void)

    /// Sends one datagram; it may get lost. Never waits.
    func send(_ bytes: [UInt8], to destination: MemberEndpoint)

    /// Receives no more.
    func close() async
}

/// What carries probes and exchanges over streams: calls to other agents over mutual TLS, or their twin in memory.
///
/// A failure of any kind is thrown. The shell gives up and cancels the task when the time that the pool allows is over.
protocol GossipStreams: Sendable {
    /// Asks for any authenticated round trip to this node; returns when it came back.
    @concurrent func probe(node: NodeID, endpoint: MemberEndpoint) async throws

    /// Brings a request to the shell of the agent there, whose `answerExchange` gives the answer.
    ///
    /// `node` is nil for an address from which nobody was heard yet: then any agent of the cluster will do.
    @concurrent func exchange(request: [UInt8], node: NodeID?, endpoint: MemberEndpoint) async throws -> [UInt8]
}

/// The UDP port of an agent, which its pools share.
///
/// As a link it is that of the common pool; the others have lanes.
final class GossipPort: GossipLink {
    /// Where it listens, with the port that it got.
    let endpoint: MemberEndpoint
    private let socket: GossipSocket
    private let receiver: Receiver

    /// Who takes what arrives; what comes before the shell has started is dropped.
    private final class Receiver: Sendable {
        /// By the tag of the pool.
        let receive = Mutex<[UInt32: @Sendable ([UInt8], MemberEndpoint) -> Void]>([:])
    }

    /// The port as one pool beside the common one uses it.
    private final class Lane: GossipLink {
        private let port: GossipPort
        private let tag: UInt32

        init(_ port: GossipPort, tag: UInt32) { (self.port, self.tag) = (port, tag) }

        func start(_ receive: @escaping @Sendable ([UInt8], MemberEndpoint) -> Void) {
            port.receiver.receive.withLock { $0[tag] = receive }
        }

        func send(_ bytes: [UInt8], to destination: MemberEndpoint) { port.send(bytes, to: destination) }

        func close() async { _ = port.receiver.receive.withLock { $0.removeValue(forKey: tag) } }
    }

    private init(socket: GossipSocket, receiver: Receiver) {
        (self.socket, self.receiver) = (socket, receiver)
        endpoint = MemberEndpoint(socket.address)
    }

    /// Opens the port on the event loop that the shell will use.
    ///
    /// `datagramByteLimit` is that of the membership's configuration.
    /// - Throws: `GossipSocketError` when the address cannot be had.
    static func open(
        _ address: DatagramAddress,
        datagramByteLimit: Int,
        eventLoop: any EventLoop,
        logger: Logger
    ) async throws -> GossipPort {
        let receiver = Receiver()
        let socket = try await GossipSocket.open(
            address,
            datagramByteLimit: datagramByteLimit + GossipSeal.overheadByteCount + GossipSeal.poolTagByteCount,
            eventLoop: eventLoop,
            complain: { sentence, count in
                logger.warning("gossip.socket.failed", metadata: ["reason": "\(sentence)", "count": "\(count)"])
            },
            receive: { bytes, source in
                // What is no datagram at all goes to the common pool, where it is counted.
                let tag = GossipSeal.poolTag(of: bytes) ?? 0
                receiver.receive.withLock { $0[tag] }?(bytes, MemberEndpoint(source))
            }
        )
        return GossipPort(socket: socket, receiver: receiver)
    }

    /// What went through, and what failed.
    var statistics: GossipSocket.Statistics { socket.statistics }

    /// The port for one pool; closing the link leaves the port to the others.
    func lane(for pool: PoolName) -> any GossipLink { Lane(self, tag: pool.tag) }

    func start(_ receive: @escaping @Sendable ([UInt8], MemberEndpoint) -> Void) {
        receiver.receive.withLock { $0[0] = receive }
    }

    func send(_ bytes: [UInt8], to destination: MemberEndpoint) {
        socket.send(bytes, to: DatagramAddress(destination))
    }

    func close() async {
        receiver.receive.withLock { $0 = [:] }
        await socket.close()
    }
}

extension MemberEndpoint {
    /// The same address, as Transport holds it.
    init(_ address: DatagramAddress) {
        self.init(ipv6High: address.high, low: address.low, port: address.port)
    }
}

extension DatagramAddress {
    /// The same address, as the membership holds it.
    init(_ endpoint: MemberEndpoint) { self.init(high: endpoint.high, low: endpoint.low, port: endpoint.port) }
}
