import Foundation
import NIO
import Synchronization
import Testing
import Transport

/// Datagrams go through UDP on this machine, and nothing that cannot be sent does harm.
@Suite(.timeLimit(.minutes(5)))
struct GossipSocketTests {
    private static func loopback(_ port: UInt16 = 0) throws -> DatagramAddress {
        try #require(DatagramAddress(numeric: "127.0.0.1", port: port))
    }

    /// A socket and the stream of what it receives.
    private static func open(
        _ address: DatagramAddress,
        complain: @escaping GossipSocket.Complain = { _, _ in }
    ) async throws -> (GossipSocket, AsyncStream<([UInt8], DatagramAddress)>) {
        let (stream, continuation) = AsyncStream.makeStream(of: ([UInt8], DatagramAddress).self)
        let socket = try await GossipSocket.open(
            address,
            datagramByteLimit: 1_230,
            eventLoop: MultiThreadedEventLoopGroup.singleton.next(),
            complain: complain
        ) { bytes, source in continuation.yield((bytes, source)) }
        return (socket, stream)
    }

    @Test func datagramsArriveWithTheirSource() async throws {
        let (one, _) = try await Self.open(Self.loopback())
        let (two, received) = try await Self.open(Self.loopback())
        #expect(one.address.port != 0)
        var iterator = received.makeAsyncIterator()
        for count in [1, 39, 1_230] {
            let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0) }
            one.send(bytes, to: two.address)
            let (arrived, source) = try #require(await iterator.next())
            #expect(arrived == bytes)
            #expect(source == one.address)
        }
        #expect(one.statistics.packetsOut == 3)
        #expect(one.statistics.bytesOut == 1_270)
        #expect(two.statistics.packetsIn == 3)
        #expect(two.statistics.bytesIn == 1_270)
        await one.close()
        await two.close()
    }

    @Test func manyArriveAtOnce() async throws {
        let (one, _) = try await Self.open(Self.loopback())
        let (two, received) = try await Self.open(Self.loopback())
        for number in 0..<100 { one.send([UInt8(number)], to: two.address) }
        var iterator = received.makeAsyncIterator()
        for number in 0..<100 { #expect(await iterator.next()?.0 == [UInt8(number)]) }
        await one.close()
        await two.close()
    }

    @Test func aSocketForAllAddressesSpeaksBothFamilies() async throws {
        let every = try #require(DatagramAddress(numeric: "::", port: 0))
        let (wide, received) = try await Self.open(every)
        let (four, answers) = try await Self.open(Self.loopback())
        four.send([1], to: try Self.loopback(wide.address.port))
        var iterator = received.makeAsyncIterator()
        let (_, source) = try #require(await iterator.next())
        #expect(source == four.address)
        wide.send([2], to: source)
        var answer = answers.makeAsyncIterator()
        #expect(await answer.next()?.0 == [2])
        await wide.close()
        await four.close()
    }

    @Test func whatCannotBeSentIsCountedAndDoesNotStopTheRest() async throws {
        let complaints = Mutex<[String]>([])
        let (one, _) = try await Self.open(Self.loopback()) { sentence, _ in complaints.withLock { $0.append(sentence) }
        }
        let (two, received) = try await Self.open(Self.loopback())
        // Longer than any datagram, a family that the socket does not have, an address that no UDP socket may send to, nobody there.
        one.send(Array(repeating: 0, count: 70_000), to: two.address)
        one.send([1], to: try #require(DatagramAddress(numeric: "::1", port: two.address.port)))
        one.send([1], to: try #require(DatagramAddress(numeric: "255.255.255.255", port: 9)))
        one.send([1], to: try Self.loopback(1))
        one.send([1], to: try Self.loopback(1))
        one.send([7], to: two.address)
        var iterator = received.makeAsyncIterator()
        #expect(await iterator.next()?.0 == [7])
        let failures = one.statistics.failures
        #expect(failures[EMSGSIZE] == 1)
        #expect(failures[EAFNOSUPPORT] == 1)
        #expect(failures[EACCES] == 1)
        // The first is told at once, the others within the same second are not.
        #expect(complaints.withLock { $0.count } == 1)
        #expect(complaints.withLock { $0.first?.hasPrefix("cannot send to 127.0.0.1:") } == true)
        await one.close()
        await two.close()
    }

    @Test func aTakenPortIsRefusedWithTheRemedy() async throws {
        let (one, _) = try await Self.open(Self.loopback())
        let error = await #expect(throws: GossipSocketError.self) { try await Self.open(one.address) }
        #expect(error?.description.contains("another process has this UDP port") == true)
        await one.close()
    }

    @Test(
        arguments: [
            ("10.0.0.1", "10.0.0.1:7420"), ("fd00::1", "[fd00::1]:7420"), ("::ffff:10.0.0.1", "10.0.0.1:7420"),
            ("0.0.0.0", "0.0.0.0:7420"),
        ]
    )
    func addressesAreReadAndWritten(text: String, written: String) throws {
        #expect(DatagramAddress(numeric: text, port: 7_420)?.description == written)
    }

    @Test(arguments: ["", "localhost", "10.0.0", "10.0.0.1:7420", "[::1]", "10.0.0.256"])
    func namesAreNoAddresses(text: String) {
        #expect(DatagramAddress(numeric: text, port: 1) == nil)
    }
}
