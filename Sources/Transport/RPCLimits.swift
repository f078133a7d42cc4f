package import NIO
import TLS
import WireFormat

/// The bounds of one side of its connections.
///
/// Everything that a peer can make this side hold is bounded here.
package struct RPCLimits: Sendable {
    /// Largest frame payload that this side accepts, in bytes; at most `FrameHeader.absolutePayloadLimit`.
    package var maximumFrameBytes: Int
    /// Most streams that one connection may have open at once.
    package var maximumStreamsPerConnection: Int
    /// Credit that this side gives each stream that it reads, in bytes.
    package var receiveWindowBytes: Int
    /// Request payloads that one connection may have in progress, in bytes; further requests are refused as `exhausted`.
    package var maximumRequestBytesInProgress: Int
    /// Answers that wait for one slow reader, in bytes; beyond, the connection is closed.
    package var maximumHeldBytes: Int
    /// The same three bounds for a connection of a node, which carries the calls of many users.
    package var maximumStreamsPerNodeConnection: Int
    /// See `maximumRequestBytesInProgress`.
    package var maximumNodeRequestBytesInProgress: Int
    /// See `maximumHeldBytes`.
    package var maximumNodeHeldBytes: Int
    /// Most connections; further ones are closed before the handshake, which costs next to nothing.
    package var maximumConnections: Int
    /// Most connections that have not finished their handshake, so that strangers cannot use up `maximumConnections`.
    package var maximumHandshakes: Int
    /// Time for the TLS handshake, and again for the first frame.
    package var handshakeTimeout: TimeAmount
    /// A peer that takes nothing for so long is given up.
    package var slowReaderTimeout: TimeAmount
    /// A connection without open streams and without frames for so long is closed.
    package var idleTimeout: TimeAmount

    /// What an agent offers.
    package static let agent = RPCLimits(
        // A document of 1 MiB and its envelope.
        maximumFrameBytes: (1 << 20) + (16 << 10),
        maximumStreamsPerConnection: 128,
        receiveWindowBytes: 256 << 10,
        maximumRequestBytesInProgress: 4 << 20,
        maximumHeldBytes: 16 << 20,
        maximumStreamsPerNodeConnection: 1024,
        maximumNodeRequestBytesInProgress: 32 << 20,
        maximumNodeHeldBytes: 128 << 20,
        maximumConnections: 4096,
        maximumHandshakes: 128,
        handshakeTimeout: .seconds(5),
        slowReaderTimeout: .seconds(30),
        idleTimeout: .minutes(15)
    )

    /// What a client accepts: answers may be longer than requests, because the agent is trusted.
    package static let client: RPCLimits = {
        var limits = RPCLimits.agent
        limits.maximumFrameBytes = FrameHeader.absolutePayloadLimit
        return limits
    }()
}

extension RPCLimits {
    /// The bounds as they hold for a connection of this peer.
    func fitting(_ peer: PeerIdentity) -> RPCLimits {
        guard case .node = peer else { return self }
        var limits = self
        limits.maximumStreamsPerConnection = maximumStreamsPerNodeConnection
        limits.maximumRequestBytesInProgress = maximumNodeRequestBytesInProgress
        limits.maximumHeldBytes = maximumNodeHeldBytes
        return limits
    }
}

/// The largest first frame; a peer that was not believed yet gets no more room.
let helloPayloadLimit = 4096
/// How long a refused peer may take to read why.
let lingerTime = TimeAmount.seconds(1)
/// How long an answer that nobody waits for waits for others to leave with, and how many do: fewer than callers let be unanswered.
let patience = TimeAmount.milliseconds(100)
let patientAnswerLimit = 8
/// Frames gathered beyond this are handed to TLS without waiting for the end of the burst, in bytes.
let gatherLimit = 256 << 10
