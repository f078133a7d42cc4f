import ClusterModel
import ControlMessages
import NIO
import TLS
import Testing
import Transport

/// Who was let in and is no longer trusted is sent away.
@Suite(.timeLimit(.minutes(5)))
struct RevocationTests {
    @Test func `An open connection of a revoked peer ends with the reason, and no other`() async throws {
        let cluster = try TestCluster()
        let (started, cancelled) = (Signal<Void>(), Signal<Void>())
        try await withServer(cluster) { _ in
            started.give(())
            await untilCancelled()
            cancelled.give(())
        } body: { server, port in
            let (ada, bob) = (try cluster.user(.submit), try cluster.user(.read))
            let (ofAda, ofBob) = (try await connect(ada, port), try await connect(bob, port))
            async let waiting = failure {
                let _: WireStatusReply = try await ofAda.call(.status, WireStatusRequest(), timeout: .seconds(60))
            }
            try await started.wait()

            let list = RevocationList()
            list.replace(with: [try #require(Revocation(serial: ada.certificate.serial))])
            #expect(server.disconnect { list.revokes($0) } == 1)
            let refusal = try #require(await waiting)
            #expect(refusal.code == .forbidden, "\(refusal)")
            #expect(refusal.message.contains("was revoked or has expired"))
            try await until("its connection is closed") { server.statistics.connectionCount == 1 }
            try await cancelled.wait()

            let echo: WireEchoReply = try await ofBob.call(.echo, WireEchoRequest(), timeout: .seconds(20))
            #expect(echo.payload.isEmpty)
            #expect(server.disconnect { list.revokes($0) } == 0)
            await ofAda.close()
            await ofBob.close()
        }
    }

    @Test func `A connection can be ended for the age of its certificate`() async throws {
        let cluster = try TestCluster()
        try await withServer(cluster) { call in
            call.reply(WireStatusReply())
        } body: { server, port in
            let client = try await connect(cluster.user(), port)
            let _: WireStatusReply = try await client.call(.status, WireStatusRequest(), timeout: .seconds(20))
            let end = try cluster.user().certificate.notAfter
            #expect(server.disconnect { $0.notAfter < end - .seconds(7200) } == 0)
            #expect(server.disconnect { $0.notAfter <= end + .seconds(7200) } == 1)
            try await until("the connection is closed") { server.statistics.connectionCount == 0 }
            await client.close()
        }
    }
}
