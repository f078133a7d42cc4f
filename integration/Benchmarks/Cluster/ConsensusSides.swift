import ClusterModel
import ControlAPI
import ControlMessages
import Glibc
import LinuxSystem
import NIO
import Transport

/// A connection over which values are made durable.
protocol DurableWriter: Sendable {
    /// Returns when the value is on the disks of a majority and visible where it was written.
    func write(_ key: String, timeout: Duration) async throws
    func close() async
}

/// Three members that keep values by consensus.
protocol ConsensusSide: Sendable {
    var name: String { get }
    func command(_ member: Int) -> ProgramCommand
    func logPath(of member: Int) -> String
    /// Throws when the member does not answer.
    func connect(_ member: Int) async throws -> any DurableWriter
    /// Who leads; nil unless all three vote, answer and have what is committed.
    func leaderOfAll() async throws -> Int?
    /// All keys that were written, as a leader has them.
    func keys() async throws -> Set<String>
    /// How the members are started: the founder and who joins it one after the other, or all at once.
    var founderComesFirst: Bool { get }
    func remove()
}

extension ConsensusSide {
    static var memberCount: Int { 3 }
}

/// Ours: three whole agents with our defaults, asked by a user over mutual TLS.
///
/// A write is the revocation of a certificate's name: of all that a user can ask, the nearest to the put of a small value, because it has no
/// consequence that would have to be waited for. It is replicated, on the disks of a majority and applied before it is answered.
struct GodwitStore: ConsensusSide {
    let name = "ours"
    let founderComesFirst = true
    private let agents: BenchmarkAgents

    init(_ context: BenchmarkContext) throws {
        agents = try BenchmarkAgents(context, ports: try freePorts(Self.memberCount))
    }

    func command(_ member: Int) -> ProgramCommand { agents.command(member) }
    func logPath(of member: Int) -> String { agents.logPath(of: member) }
    func remove() { agents.remove() }

    private static let prefix = "spiffe://bench/user/"

    private struct Writer: DurableWriter {
        let client: ControlClient

        func write(_ key: String, timeout: Duration) async throws {
            var request = WireCertificateRevokeRequest()
            request.identity = prefix + key
            _ = try await client.rpc.call(
                .certificateRevoke,
                request,
                timeout: timeout,
                reply: WireCertificateRevokeReply.self
            )
        }

        func close() async { await client.close() }
    }

    func connect(_ member: Int) async throws -> any DurableWriter { Writer(client: try await agents.connect(member)) }

    func leaderOfAll() async throws -> Int? {
        let reply = try await ask(0) { try await $0.clusterVoters() }
        let voters = reply.members.filter { $0.role != "learner" }
        guard voters.count == Self.memberCount, let leader = agents.number(of: reply.leader) else { return nil }
        // A view may be an agent's own, when it knows of no leader.
        guard reply.answeredBy == reply.leader,
            voters.allSatisfy({ (0..<1).contains($0.lastContactSeconds) && $0.matchIndex >= reply.commitIndex })
        else { return nil }
        for member in 0..<Self.memberCount {
            guard try await ask(member, { try await $0.status() }).leader == reply.leader else { return nil }
        }
        return leader
    }

    func keys() async throws -> Set<String> {
        let list = try await ask(0) { try await $0.revocationList() }
        return Set(list.revocations.map { String($0.identity.dropFirst(Self.prefix.count)) })
    }

    private func ask<Value>(_ member: Int, _ body: (ControlClient) async throws -> Value) async throws -> Value {
        let client = try await agents.connect(member)
        do {
            let value = try await body(client)
            await client.close()
            return value
        } catch {
            await client.close()
            throw error
        }
    }
}

/// The peer: a three-member etcd with its defaults, asked over its own protocol, without TLS.
struct EtcdStore: ConsensusSide {
    let name = "etcd"
    let founderComesFirst = false
    private let program: String
    private let folder: String
    /// For clients, then for the members among themselves.
    private let ports: [Int]

    private static let prefix = "bench/user/"

    init(_ context: BenchmarkContext) throws {
        program = try context.peer("etcd", package: "etcd-server")
        folder = context.folder + "/etcd"
        ports = try freePorts(2 * Self.memberCount)
        try FileSystem.removeAll(folder)
        try FileSystem.createFolder(folder)
    }

    private func peerURL(_ member: Int) -> String { "http://127.0.0.1:\(ports[Self.memberCount + member])" }

    func command(_ member: Int) -> ProgramCommand {
        let client = "http://127.0.0.1:\(ports[member])"
        let cluster = (0..<Self.memberCount).map { "e\($0)=\(peerURL($0))" }.joined(separator: ",")
        return ProgramCommand(
            program,
            [
                "--name", "e\(member)", "--data-dir", "\(folder)/e\(member)", "--listen-client-urls", client,
                "--advertise-client-urls", client, "--listen-peer-urls", peerURL(member),
                "--initial-advertise-peer-urls", peerURL(member), "--initial-cluster", cluster,
                "--initial-cluster-state", "new", "--logger", "zap", "--log-level", "error",
            ],
            startsSession: true
        )
    }

    func logPath(of member: Int) -> String { "\(folder)/e\(member).log" }
    func remove() { try? FileSystem.removeAll(folder) }

    private struct Writer: DurableWriter {
        let client: EtcdClient

        func write(_ key: String, timeout: Duration) async throws {
            try await client.put(prefix + key, key, timeout: timeout)
        }

        func close() async { await client.close() }
    }

    func connect(_ member: Int) async throws -> any DurableWriter {
        let client = try await EtcdClient.connect(port: ports[member], group: BenchmarkAgents.loops)
        do {
            _ = try await client.status()
        } catch {
            await client.close()
            throw error
        }
        return Writer(client: client)
    }

    func leaderOfAll() async throws -> Int? {
        var all: [EtcdClient.Status] = []
        for member in 0..<Self.memberCount { all.append(try await ask(member) { try await $0.status() }) }
        guard let leader = all.first?.leader, leader != 0, all.allSatisfy({ $0.leader == leader }),
            let number = all.firstIndex(where: { $0.member == leader }),
            all.allSatisfy({ $0.appliedIndex + 10 >= all[number].appliedIndex })
        else { return nil }
        return number
    }

    func keys() async throws -> Set<String> {
        Set(
            try await ask(0) { try await $0.keys(withPrefix: Self.prefix) }.map {
                String($0.dropFirst(Self.prefix.count))
            }
        )
    }

    private func ask<Value>(_ member: Int, _ body: (EtcdClient) async throws -> Value) async throws -> Value {
        let client = try await EtcdClient.connect(port: ports[member], group: BenchmarkAgents.loops)
        do {
            let value = try await body(client)
            await client.close()
            return value
        } catch {
            await client.close()
            throw error
        }
    }
}
