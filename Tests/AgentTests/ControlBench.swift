import ClusterModel
import ClusterState
import ControlAPI
import ControlMessages
import Foundation
import GPU
import NIO
import SwiftProtobuf
import Synchronization
import TLS
import Transport

@testable import Agent

/// The control plane of a bench, asked over TLS on the loopback by users with the three rights.
final class ControlBench: Sendable {
    let bench: Bench
    let logs = RecordedLogs()
    let service: ControlService
    private let authority: CertificateAuthority
    private let server: RPCServer
    private let port: Int
    private static let wallClock = Timestamp(seconds: Double(Int(Date().timeIntervalSince1970)))

    private init(_ bench: Bench, capabilities: [CapabilityReport]) async throws {
        self.bench = bench
        let cluster = ClusterID(rawValue: "flock")
        authority = try CertificateAuthority.create(cluster: cluster, now: Self.wallClock)
        let facts = NodeFacts(
            cluster: cluster,
            site: SiteID(rawValue: "coast"),
            node: Bench.node,
            role: .worker,
            kernel: "6.1.0",
            capabilities: capabilities,
            startedAt: .now
        )
        let time = bench.time
        service = ControlService(
            node: facts,
            replica: bench.replica,
            controller: bench.controller,
            store: bench.store,
            hub: bench.hub,
            containerLogs: logs,
            resources: await ResourceMonitor(inventory: GPUInventory()),
            metrics: bench.metrics,
            logger: bench.logger,
            now: { time.now }
        )
        let identity = try authority.issueNode(
            Bench.node,
            site: SiteID(rawValue: "coast"),
            role: .worker,
            now: Self.wallClock
        )
        server = RPCServer(
            configuration: RPCServerConfiguration(software: "godwitd test"),
            tls: try TLSContext(.server, identity),
            group: MultiThreadedEventLoopGroup.singleton,
            handler: service
        )
        port = try await server.start(host: "127.0.0.1", port: 0).port ?? 0
    }

    /// Runs an agent with its control plane for the length of a test.
    static func with(
        capabilities: [CapabilityReport] = [],
        _ change: (inout NodeControllerSettings) -> Void = { _ in },
        _ body: (ControlBench) async throws -> Void
    ) async throws {
        let control = try await ControlBench(try await Bench.started(change), capabilities: capabilities)
        do {
            try await body(control)
        } catch {
            await control.end()
            throw error
        }
        await control.end()
    }

    private func end() async {
        await server.shutdown(grace: .zero)
        await bench.stop()
    }

    /// Calls as a user; the connection is closed afterwards.
    func ask<Value: Sendable>(
        _ user: String = "ada",
        _ right: UserRight = .admin,
        _ body: (ControlClient) async throws -> Value
    ) async throws -> Value {
        let identity = try authority.issueUser(UserID(rawValue: user), right: right, now: Self.wallClock)
        let client = try await ControlClient.connect(
            Credentials(identity: identity, agents: [AgentAddress(host: "127.0.0.1", port: port)]),
            software: "test",
            group: MultiThreadedEventLoopGroup.singleton
        )
        do {
            let value = try await body(client)
            await client.close()
            return value
        } catch {
            await client.close()
            throw error
        }
    }

    /// The failure of a call that must fail.
    func failure(
        _ user: String = "ada",
        _ right: UserRight = .admin,
        _ body: (ControlClient) async throws -> Void
    ) async -> RPCFailure? {
        do {
            try await ask(user, right, body)
            return nil
        } catch {
            return error as? RPCFailure
        }
    }

    /// Submits a document and waits until its job runs.
    @discardableResult
    func running(_ text: String = job(), user: String = "ada") async throws -> JobID {
        let reply = try await ask(user, .submit) { try await $0.jobSubmit(.document(text)) }
        let id = JobID(rawValue: reply.id)
        try await bench.until(id, "it runs") { $0.state == .running }
        await bench.quiet()
        return id
    }

    /// A job document.
    static func job(_ name: String = "solver", _ more: String = "") -> String {
        "name: \(name)\nimage: {rootfs: /r}\ncommand: [work]\n\(more)"
    }
}

extension WireJobSubmitRequest {
    static func document(_ text: String, allowInfeasible: Bool = false, key: String = "") -> Self {
        .with {
            $0.document = .text(text)
            $0.allowInfeasible = allowInfeasible
            $0.idempotencyKey = key
        }
    }
}

extension WireDocument {
    static func text(_ text: String) -> Self {
        .with {
            $0.name = "job.yaml"
            $0.content = Data(text.utf8)
            $0.workingDirectory = "/home/ada"
        }
    }
}

extension WireJobReference {
    static func named(_ name: String) -> Self { .with { $0.nameOrID = name } }
}

/// Output of jobs that a test wrote down.
final class RecordedLogs: LogSource {
    private let state = Mutex<(lines: [String], queries: [LogQuery])>(([], []))

    var queries: [LogQuery] { state.withLock { $0.queries } }

    func write(_ lines: String...) { state.withLock { $0.lines += lines } }

    func read(
        _ query: LogQuery,
        isOver: @escaping @Sendable () async -> Bool,
        _ emit: @escaping @Sendable ([WireLogLine]) async throws -> Void
    ) async throws {
        let lines = state.withLock { state in
            state.queries.append(query)
            return state.lines
        }
        try await emit(lines.map { line in .with { $0.text = Data(line.utf8) } })
        while query.follows, !Task.isCancelled, await !isOver() { await Task.yield() }
    }
}
