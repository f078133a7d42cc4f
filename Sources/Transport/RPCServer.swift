package import ClusterModel
import Glibc
package import NIO
import Synchronization
package import TLS
package import WireFormat

/// What a server tells whoever runs it; for logs and metrics.
package enum RPCServerEvent: Sendable {
    /// A peer was believed and has said hello.
    case opened(PeerIdentity, address: String)
    /// A peer was sent away, and why.
    case refused(address: String, String)
}

/// How an RPC server behaves.
package struct RPCServerConfiguration: Sendable {
    package var limits: RPCLimits
    /// Name and version for people: `godwit 1.0.0`.
    package var software: String
    /// Protocol versions offered.
    package var versions: ClosedRange<ProtocolVersion>
    /// Called on an event loop for what is worth a log line; must not wait.
    package var observe: @Sendable (RPCServerEvent) -> Void

    package init(
        software: String,
        limits: RPCLimits = .agent,
        versions: ClosedRange<ProtocolVersion> = ProtocolVersion.supported,
        observe: @escaping @Sendable (RPCServerEvent) -> Void = { _ in }
    ) {
        (self.software, self.limits, self.versions, self.observe) = (software, limits, versions, observe)
    }
}

/// Figures of a server at one moment.
package struct RPCServerStatistics: Sendable, Equatable {
    /// Connections that are open, believed or not yet.
    package var connectionCount = 0
    /// Those of them that have not finished their handshake.
    package var handshakeCount = 0
    /// Connections that were closed at once because a bound was reached, since the start.
    package var turnedAwayCount: UInt64 = 0
}

/// Serves the control plane over mutual TLS.
///
/// `start` returns when it listens; `shutdown` lets open calls finish. One server can listen on several addresses.
package final class RPCServer: Sendable {
    package let configuration: RPCServerConfiguration
    /// Only certificates of this cluster are believed.
    package let cluster: ClusterID
    let handler: any RPCHandler
    private let tls: TLSContext
    private let group: any EventLoopGroup

    private struct Connection {
        var channel: any Channel
        var queue: LoopQueue<ServerEvent>?
        var isHandshaking = true
        /// What the peer showed; nil before it has, and for one that is nobody.
        var certificate: CertificateSummary?
    }

    private struct State {
        var listeners: [any Channel] = []
        var connections: [ObjectIdentifier: Connection] = [:]
        var statistics = RPCServerStatistics()
        var isStopping = false
    }
    private let state = Mutex(State())

    /// Makes a server; it does nothing before `start`.
    package init(
        configuration: RPCServerConfiguration,
        tls: TLSContext,
        group: any EventLoopGroup,
        handler: any RPCHandler
    ) {
        precondition(tls.role == .server, "an RPC server needs a server's TLS context")
        (self.configuration, self.tls, self.group, self.handler) = (configuration, tls, group, handler)
        cluster = tls.identity.cluster
    }

    /// The figures at this moment, from any thread.
    package var statistics: RPCServerStatistics { state.withLock { $0.statistics } }

    /// Listens on an address; port 0 lets the kernel choose.
    ///
    /// - Returns: the address it listens on.
    /// - Throws: `RPCFailure` with code `unavailable`.
    @discardableResult
    package func start(host: String, port: Int) async throws -> SocketAddress {
        let bootstrap = ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 1024)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelOption(.socketOption(.so_keepalive), value: 1)
            // A client that lost its power is noticed after a minute.
            .childChannelOption(.tcpOption(.init(rawValue: TCP_KEEPIDLE)), value: 30)
            .childChannelOption(.tcpOption(.init(rawValue: TCP_KEEPINTVL)), value: 10)
            .childChannelOption(.tcpOption(.init(rawValue: TCP_KEEPCNT)), value: 3)
            .childChannelOption(.writeBufferWaterMark, value: .init(low: 64 << 10, high: 512 << 10))
            .childChannelInitializer { [self] channel in accept(channel) }
        do {
            let channel = try await bootstrap.bind(host: host, port: port).get()
            let mustClose = state.withLock { state in
                state.listeners.append(channel)
                return state.isStopping
            }
            if mustClose { try? await channel.close() }
            guard let address = channel.localAddress else {
                throw RPCFailure(.unavailable, "listening on \(host) port \(port) ended at once")
            }
            return address
        } catch let failure as RPCFailure {
            throw failure
        } catch let error as IOError where error.errnoCode == EADDRINUSE {
            throw RPCFailure(
                .unavailable,
                "cannot listen on \(host) port \(port): another program does already; stop it, or configure another port"
            )
        } catch let error as IOError where error.errnoCode == EADDRNOTAVAIL {
            throw RPCFailure(
                .unavailable,
                "cannot listen on \(host) port \(port): this machine has no such address; configure one it has, or 0.0.0.0"
            )
        } catch {
            throw RPCFailure(
                .unavailable,
                "cannot listen on \(host) port \(port): \(error); configure an address and port that this machine allows"
            )
        }
    }

    private func accept(_ channel: any Channel) -> EventLoopFuture<Void> {
        let limits = configuration.limits
        let id = ObjectIdentifier(channel)
        let isWelcome = state.withLock { state in
            guard !state.isStopping, state.statistics.connectionCount < limits.maximumConnections,
                state.statistics.handshakeCount < limits.maximumHandshakes
            else {
                state.statistics.turnedAwayCount += 1
                return false
            }
            state.connections[id] = Connection(channel: channel)
            state.statistics.connectionCount += 1
            state.statistics.handshakeCount += 1
            return true
        }
        guard isWelcome else { return channel.close() }
        channel.closeFuture.whenComplete { [self] _ in
            state.withLock { state in
                guard let connection = state.connections.removeValue(forKey: id) else { return }
                state.statistics.connectionCount -= 1
                if connection.isHandshaking { state.statistics.handshakeCount -= 1 }
            }
        }
        return channel.eventLoop.makeCompletedFuture {
            let tlsHandler = try TLSHandler(context: tls, handshakeTimeout: limits.handshakeTimeout)
            try channel.pipeline.syncOperations.addHandlers(tlsHandler, RPCServerConnection(server: self))
        }
    }

    func register(_ queue: LoopQueue<ServerEvent>, for channel: any Channel) {
        state.withLock { $0.connections[ObjectIdentifier(channel)]?.queue = queue }
    }

    func handshakeEnded(_ channel: any Channel, _ certificate: CertificateSummary?) {
        let queue = state.withLock { state -> LoopQueue<ServerEvent>? in
            guard var connection = state.connections[ObjectIdentifier(channel)], connection.isHandshaking else {
                return nil
            }
            connection.isHandshaking = false
            connection.certificate = certificate
            state.connections[ObjectIdentifier(channel)] = connection
            state.statistics.handshakeCount -= 1
            return connection.queue
        }
        // Revoked after libssl had asked, and before `disconnect` could find it.
        if let certificate, tls.revocations.revokes(certificate) { queue?.push(.disconnect(Self.noLongerTrusted)) }
    }

    /// The certificates of those who are connected now, each once for each connection.
    package var certificates: [CertificateSummary] {
        state.withLock { $0.connections.values.compactMap(\.certificate) }
    }

    /// Why a peer is sent away whose certificate was good when it connected.
    package static let noLongerTrusted = RPCFailure(
        .forbidden,
        "the certificate of this connection was revoked or has expired: an administrator can issue a new one with `godwit ca issue`"
    )

    /// Ends the connections of peers whose certificates fulfil the condition: cancels their calls and tells them why.
    ///
    /// For what a handshake cannot know: a certificate that was revoked, or expires, while the connection is open. Returns how many it
    /// ended, at once; the last bytes are sent after that.
    @discardableResult
    package func disconnect(
        because failure: RPCFailure = noLongerTrusted,
        where condition: (CertificateSummary) -> Bool
    ) -> Int {
        let connections = state.withLock { Array($0.connections.values) }
        // The condition may be slow, and may ask this server.
        let ended = connections.filter { $0.certificate.map(condition) ?? false }
        for connection in ended { connection.queue?.push(.disconnect(failure)) }
        return ended.count
    }

    /// Stops listening, lets open calls finish for `grace`, then cancels them and closes.
    ///
    /// Returns when all connections are closed.
    package func shutdown(grace: Duration = .seconds(5)) async {
        let (listeners, connections) = state.withLock { state in
            state.isStopping = true
            return (state.listeners, state.connections.values.map { ($0.channel, $0.queue) })
        }
        for listener in listeners { try? await listener.close() }
        for (channel, queue) in connections {
            if let queue { queue.push(.drain) } else { channel.close(promise: nil) }
        }
        let abortion = Task(name: "rpc server grace") {
            guard (try? await Task.sleep(for: grace)) != nil else { return }
            for (_, queue) in connections { queue?.push(.abort) }
        }
        for (channel, _) in connections { _ = try? await channel.closeFuture.get() }
        abortion.cancel()
    }
}
