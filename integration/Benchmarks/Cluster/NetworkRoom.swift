import LinuxSystem

/// A network namespace with nothing but a loopback, in which all that passes is counted by protocol.
///
/// Both sides of a comparison are counted by the same rules: whole IP packets, of everybody in the room.
struct NetworkRoom: Sendable {
    /// What has passed since the room was made.
    struct Traffic: Sendable {
        var datagrams = 0.0
        var datagramBytes = 0.0
        var streamBytes = 0.0

        static func - (after: Traffic, before: Traffic) -> Traffic {
            Traffic(
                datagrams: after.datagrams - before.datagrams,
                datagramBytes: after.datagramBytes - before.datagramBytes,
                streamBytes: after.streamBytes - before.streamBytes
            )
        }
    }

    let name: String

    init(_ name: String) throws {
        self.name = name
        for tool in [
            ("ip", "iproute2"), ("nsenter", "util-linux"), ("iptables", "iptables"), ("iptables-save", "iptables"),
        ]
        where ProcessRunner.find(tool.0) == nil {
            throw BenchmarkFailure("\(tool.0) is missing: install it with `apt-get install \(tool.1)`")
        }
        try Self.run("ip", ["netns", "add", name])
        do {
            try runInside("ip", ["link", "set", "lo", "up"])
            try runInside("iptables", ["-A", "OUTPUT", "-p", "udp"])
            try runInside("iptables", ["-A", "OUTPUT", "-p", "tcp"])
        } catch {
            remove()
            throw error
        }
    }

    /// The same command, to be run in the room; its process has the same number.
    func inside(_ command: ProgramCommand) -> ProgramCommand {
        var wrapped = command
        wrapped.arguments = ["--net=/run/netns/\(name)", command.program] + command.arguments
        wrapped.program = "nsenter"
        return wrapped
    }

    func traffic() throws -> Traffic {
        var traffic = Traffic()
        for line in try runInside("iptables-save", ["-c"]).split(separator: "\n") {
            // [packets:bytes] -A OUTPUT -p udp
            let words = line.split { $0 == " " || $0 == "[" || $0 == "]" || $0 == ":" }
            guard words.count == 6, words[2] == "-A", words[3] == "OUTPUT", let packets = Double(words[0]),
                let bytes = Double(words[1])
            else { continue }
            switch words[5] {
            case "udp": (traffic.datagrams, traffic.datagramBytes) = (packets, bytes)
            default: traffic.streamBytes = bytes
            }
        }
        return traffic
    }

    /// Never fails, so that it can be the last thing done; who is still inside keeps what is left of it.
    func remove() { _ = try? Self.run("ip", ["netns", "del", name]) }

    @discardableResult
    private func runInside(_ program: String, _ arguments: [String]) throws -> String {
        let command = inside(ProgramCommand(program, arguments))
        return try Self.run(command.program, command.arguments)
    }

    @discardableResult
    private static func run(_ program: String, _ arguments: [String]) throws -> String {
        let result = try ProcessRunner.runBlocking(ProgramCommand(program, arguments), timeout: .seconds(20))
        guard result.isSuccess else {
            throw BenchmarkFailure("\(program) \(arguments.joined(separator: " ")) failed: \(result.complaint)")
        }
        return result.outputText
    }
}
