import ClusterModel
import NIO

/// A client of one member of an etcd cluster: the calls that the benchmark needs, in etcd's own protocol (version 3).
struct EtcdClient: Sendable {
    /// How a member sees the cluster.
    struct Status: Sendable {
        var member: UInt64
        /// 0 when it knows of none.
        var leader: UInt64
        var appliedIndex: UInt64
    }

    private let channel: any Channel
    private let calls: NIOLoopBound<GRPCCalls>

    static func connect(port: Int, group: any EventLoopGroup) async throws -> EtcdClient {
        let eventLoop = group.next()
        let channel = try await ClientBootstrap(group: eventLoop)
            .connectTimeout(.seconds(1))
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(GRPCCalls()) }
            }
            .connect(host: "127.0.0.1", port: port).get()
        let calls = try await eventLoop.submit {
            NIOLoopBound(try channel.pipeline.syncOperations.handler(type: GRPCCalls.self), eventLoop: eventLoop)
        }.get()
        return EtcdClient(channel: channel, calls: calls)
    }

    func close() async { try? await channel.close() }

    /// Returns when the value is on the disks of a majority and applied by the member that was asked.
    func put(_ key: String, _ value: String, timeout: Duration) async throws {
        var request = ProtoMessage()
        request.add(1, Array(key.utf8))
        request.add(2, Array(value.utf8))
        _ = try await call("/etcdserverpb.KV/Put", request, timeout)
    }

    /// All keys with a prefix, as a quorum has them.
    func keys(withPrefix prefix: String) async throws -> Set<String> {
        var end = Array(prefix.utf8)
        end[end.count - 1] += 1
        var request = ProtoMessage()
        request.add(1, Array(prefix.utf8))
        request.add(2, end)
        request.add(8, 1)
        var keys: Set<String> = []
        for case (2, .bytes(let pair)) in try await call("/etcdserverpb.KV/Range", request, .seconds(10)).fields() {
            for case (1, .bytes(let key)) in try ProtoMessage(bytes: pair).fields() {
                keys.insert(String(decoding: key, as: UTF8.self))
            }
        }
        return keys
    }

    func status() async throws -> Status {
        var status = Status(member: 0, leader: 0, appliedIndex: 0)
        let answer = try await call("/etcdserverpb.Maintenance/Status", ProtoMessage(), .seconds(1))
        for field in try answer.fields() {
            switch field {
            case (1, .bytes(let header)):
                for case (2, .number(let member)) in try ProtoMessage(bytes: header).fields() { status.member = member }
            case (4, .number(let leader)): status.leader = leader
            case (7, .number(let index)): status.appliedIndex = index
            default: break
            }
        }
        return status
    }

    private func call(_ path: String, _ message: ProtoMessage, _ timeout: Duration) async throws -> ProtoMessage {
        let (bytes, limit) = (message.bytes, TimeAmount.nanoseconds(Int64(timeout.inSeconds * 1e9)))
        let answer = try await channel.eventLoop.flatSubmit { [calls] in
            let promise = calls.eventLoop.makePromise(of: [UInt8].self)
            calls.value.begin(path, bytes, timeout: limit, promise: promise)
            return promise.futureResult
        }.get()
        return ProtoMessage(bytes: answer)
    }
}

/// The bytes of a protobuf message, field by field.
struct ProtoMessage {
    enum Value {
        case number(UInt64)
        case bytes([UInt8])
    }

    private(set) var bytes: [UInt8] = []

    init(bytes: [UInt8] = []) { self.bytes = bytes }

    mutating func add(_ field: UInt64, _ number: UInt64) {
        addNumber(field << 3)
        addNumber(number)
    }

    mutating func add(_ field: UInt64, _ value: [UInt8]) {
        addNumber(field << 3 | 2)
        addNumber(UInt64(value.count))
        bytes += value
    }

    private mutating func addNumber(_ number: UInt64) {
        var rest = number
        while rest >= 0x80 {
            bytes.append(UInt8(rest & 0x7f) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(rest))
    }

    /// All fields with numbers or bytes; throws when the message ends in the middle of one, or has others.
    func fields() throws -> [(UInt64, Value)] {
        var fields: [(UInt64, Value)] = []
        var rest = bytes[...]
        func number() throws -> UInt64 {
            var (value, shift): (UInt64, UInt64) = (0, 0)
            while let byte = rest.popFirst() {
                value |= UInt64(byte & 0x7f) << shift
                if byte < 0x80 { return value }
                shift += 7
            }
            throw BenchmarkFailure("the peer's answer ends in the middle of a number")
        }
        while !rest.isEmpty {
            let key = try number()
            switch key & 7 {
            case 0: fields.append((key >> 3, .number(try number())))
            case 2:
                let count = try number()
                guard count <= UInt64(rest.count) else { throw BenchmarkFailure("the peer's answer is cut off") }
                fields.append((key >> 3, .bytes(Array(rest.prefix(Int(count))))))
                rest = rest.dropFirst(Int(count))
            default: throw BenchmarkFailure("the peer's answer has a field of kind \(key & 7)")
            }
        }
        return fields
    }
}
