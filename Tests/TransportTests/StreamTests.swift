import ClusterModel
import ControlMessages
import Foundation
import NIO
import SwiftProtobuf
import Synchronization
import Testing
import Transport

/// Streamed answers: order, credit, ends.
@Suite(.timeLimit(.minutes(5)))
struct StreamTests {
    @Test func `Messages arrive in order and the stream ends`() async throws {
        let cluster = try TestCluster()
        try await withServer(cluster) { call in
            for number in 0..<2000 { try await call.send(WireJobLogsReply.line(10, number: number)) }
        } body: { _, port in
            let client = try await connect(cluster.user(), port)
            var numbers: [Int] = []
            for try await reply in client.stream(.jobLogs, WireJobLogsRequest(), reply: WireJobLogsReply.self) {
                numbers.append(Int(reply.lines[0].timeUnixSeconds))
            }
            #expect(numbers == Array(0..<2000))
            await client.close()
        }
    }

    /// Messages that fill the connection one by one: each flush can make it writable again, and send what waits, while it is being sent.
    @Test func `Large messages on several streams are sent once each`() async throws {
        let cluster = try TestCluster()
        try await withServer(cluster) { call in
            for number in 0..<24 { try await call.send(WireJobLogsReply.line(700 << 10, number: number)) }
        } body: { _, port in
            let client = try await connect(cluster.user(), port)
            try await withThrowingTaskGroup(of: [Int].self) { group in
                for _ in 0..<4 {
                    group.addTask {
                        var numbers: [Int] = []
                        let request = WireJobLogsRequest()
                        for try await reply in client.stream(.jobLogs, request, reply: WireJobLogsReply.self) {
                            numbers.append(Int(reply.lines[0].timeUnixSeconds))
                        }
                        return numbers
                    }
                }
                for try await numbers in group { #expect(numbers == Array(0..<24)) }
            }
            await client.close()
        }
    }

    @Test func `A stream without messages ends, one that fails says why`() async throws {
        let cluster = try TestCluster()
        try await withServer(cluster) { call in
            if call.method == .jobWatch {
                try await call.send(WireJobWatchReply())
                throw RPCFailure(.notFound, "there is no job gull")
            }
        } body: { _, port in
            let client = try await connect(cluster.user(), port)
            for try await _ in client.stream(.jobLogs, WireJobLogsRequest(), reply: WireJobLogsReply.self) {
                Issue.record("nothing was sent")
            }
            var count = 0
            let failure = await failure {
                for try await _ in client.stream(.jobWatch, WireJobWatchRequest(), reply: WireJobWatchReply.self) {
                    count += 1
                }
            }
            #expect(count == 1)
            #expect(failure == RPCFailure(.notFound, "there is no job gull"))
            await client.close()
        }
    }

    @Test func `A reader that stops reading stops the sender within its credit`() async throws {
        let cluster = try TestCluster()
        let sentCount = Mutex(0)
        let (isOutOfCredit, done) = (Signal<Void>(), Signal<Void>())
        // 64 KiB of credit, and one message that makes it negative.
        let ahead = 8
        var limits = RPCLimits.client
        limits.receiveWindowBytes = 64 << 10
        try await withServer(cluster) { call in
            for number in 0..<1000 {
                if number == ahead { isOutOfCredit.give(()) }
                try await call.send(WireJobLogsReply.line(8 << 10, number: number))
                sentCount.withLock { $0 += 1 }
            }
            done.give(())
        } body: { _, port in
            let client = try await connect(
                cluster.user(),
                port,
                configuration: RPCClientConfiguration(software: "x", limits: limits)
            )
            let stream = client.stream(.jobLogs, WireJobLogsRequest(), reply: WireJobLogsReply.self)
            try await isOutOfCredit.wait()
            // Other calls on the connection are not held up; each is a chance for the next message to slip through.
            for _ in 0..<200 {
                let _: WireEchoReply = try await client.call(.echo, WireEchoRequest(), timeout: .seconds(30))
            }
            #expect(sentCount.withLock { $0 } == ahead)
            var count = 0
            for try await reply in stream {
                #expect(Int(reply.lines[0].timeUnixSeconds) == count)
                count += 1
                #expect(sentCount.withLock { $0 } <= count + ahead)
            }
            #expect(count == 1000)
            try await done.wait()
            await client.close()
        }
    }

    @Test func `Leaving the loop cancels the handler`() async throws {
        let cluster = try TestCluster()
        let cancelled = Signal<Void>()
        try await withServer(cluster) { call in
            do {
                while true { try await call.send(WireJobLogsReply.line(100)) }
            } catch is CancellationError {
                cancelled.give(())
                throw CancellationError()
            }
        } body: { _, port in
            let client = try await connect(cluster.user(), port)
            for try await _ in client.stream(.jobLogs, WireJobLogsRequest(), reply: WireJobLogsReply.self) { break }
            try await cancelled.wait()
            await client.close()
        }
    }

    @Test func `Cancelling the reading task ends the loop and cancels the handler`() async throws {
        let cluster = try TestCluster()
        let (received, cancelled) = (Signal<Void>(), Signal<Void>())
        try await withServer(cluster) { call in
            try await call.send(WireJobWatchReply())
            await untilCancelled()
            cancelled.give(())
        } body: { _, port in
            let client = try await connect(cluster.user(), port)
            let reader = Task {
                for try await _ in client.stream(.jobWatch, WireJobWatchRequest(), reply: WireJobWatchReply.self) {
                    received.give(())
                }
            }
            try await received.wait()
            reader.cancel()
            await #expect(throws: CancellationError.self) { try await reader.value }
            try await cancelled.wait()
            await client.close()
        }
    }

    @Test func `A stream's time limit ends it`() async throws {
        let cluster = try TestCluster()
        let cancelled = Signal<Void>()
        try await withServer(cluster) { call in
            // More than the credit: the time limit finds the handler waiting in send.
            do { while true { try await call.send(WireJobLogsReply.line(100_000)) } } catch { cancelled.give(()) }
        } body: { _, port in
            let client = try await connect(cluster.user(), port)
            let stream = client.stream(
                .jobLogs,
                WireJobLogsRequest(),
                timeout: .milliseconds(100),
                reply: WireJobLogsReply.self
            )
            try await cancelled.wait()
            let failure = await failure { for try await _ in stream {} }
            #expect(failure?.code == .deadlineExceeded)
            await client.close()
        }
    }

    @Test func `Many streams at once do not mix`() async throws {
        let cluster = try TestCluster()
        try await withServer(cluster) { call in
            let request = try call.decode(WireJobLogsRequest.self)
            for number in 0..<50 {
                try await call.send(WireJobLogsReply.line(5000, number: Int(request.tailLines) * 1000 + number))
            }
        } body: { _, port in
            let client = try await connect(cluster.user(), port)
            try await withThrowingTaskGroup { group in
                for id in 0..<40 {
                    group.addTask {
                        let request = WireJobLogsRequest.with { $0.tailLines = UInt32(id) }
                        var numbers: [Int] = []
                        for try await reply in client.stream(.jobLogs, request, reply: WireJobLogsReply.self) {
                            numbers.append(Int(reply.lines[0].timeUnixSeconds))
                        }
                        #expect(numbers == (0..<50).map { id * 1000 + $0 })
                    }
                }
                try await group.waitForAll()
            }
            await client.close()
        }
    }
}
