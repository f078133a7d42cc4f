import AgentConfiguration
import ClusterModel
import Testing

/// Documents written as Swift literals, each part in a line of its own.
private func mapping(_ pairs: [(String, DocumentNode)]) -> DocumentNode {
    DocumentNode(
        content: .mapping(
            pairs.enumerated().map {
                (key: DocumentKey(text: $1.0, place: DocumentPlace(line: $0 + 1, column: 1)), value: $1.1)
            }
        ),
        place: DocumentPlace(line: 1, column: 1)
    )
}

private func scalar(_ text: String, line: Int = 7, isQuoted: Bool = false) -> DocumentNode {
    DocumentNode(content: .scalar(text: text, isQuoted: isQuoted), place: DocumentPlace(line: line, column: 9))
}

private func problems(
    _ document: DocumentNode?,
    environment: [String: String] = [:],
    flags: [String] = []
) -> [DocumentProblem] {
    do throws(DocumentProblems) {
        _ = try AgentConfiguration.read(document, role: .worker, environment: environment, flags: flags)
        return []
    } catch {
        return error.problems
    }
}

struct AgentConfigurationTests {
    @Test func nothingGivenIsTheDefault() throws {
        #expect(try AgentConfiguration.read(nil, role: .worker) == AgentConfiguration(role: .worker))
        #expect(try AgentConfiguration.read(mapping([]), role: .gateway) == AgentConfiguration(role: .gateway))
    }

    @Test func fileThenEnvironmentThenFlags() throws {
        let file = mapping([("listen", mapping([("port", scalar("1")), ("address", scalar("10.0.0.1"))]))])
        let fromFile = try AgentConfiguration.read(file, role: .worker)
        #expect(fromFile.listen.port == 1)
        let environment = ["GODWIT_LISTEN_PORT": "2", "PATH": "/bin", "GODWIT_QOS_CONTROL_PERIOD": "250ms"]
        let fromEnvironment = try AgentConfiguration.read(file, role: .worker, environment: environment)
        #expect(fromEnvironment.listen.port == 2)
        #expect(fromEnvironment.listen.address == "10.0.0.1")
        #expect(fromEnvironment.qos.controlPeriod == .milliseconds(250))
        let fromFlags = try AgentConfiguration.read(
            file,
            role: .worker,
            environment: environment,
            flags: ["listen.port=3", "log.format=json"]
        )
        #expect(fromFlags.listen.port == 3)
        #expect(fromFlags.log.format == .json)
    }

    @Test func theNetworkOfContainersIsOfferedWhenItsKeysAgree() throws {
        let flags = ["network.bridge=br0", "network.subnet=10.42.0.0/16"]
        let whole = try AgentConfiguration.read(nil, role: .worker, flags: flags).network
        #expect(whole.offered?.range.description == "10.42.0.1-10.42.255.254")
        let part = try AgentConfiguration.read(
            nil,
            role: .worker,
            flags: flags + ["network.range=10.42.1.0-10.42.1.9", "network.gateway=10.42.0.1"]
        ).network
        #expect(part.offered?.range.count == 10)
        #expect(part.offered?.gateway == IPv4Address("10.42.0.1"))
        #expect(AgentConfiguration(role: .worker).network.offered == nil)
    }

    @Test(arguments: [
        (["bridge=br0"], "network.subnet", "because network.bridge (br0) needs it"),
        (["subnet=10.42.0.0/16"], "network.bridge", "name the bridge"),
        (["bridge=br0", "subnet=10.42.0.1/16"], "--set network.subnet", "write for example 10.42.0.0/16"),
        (["bridge=br0", "subnet=10.42.0.0/31"], "--set network.subnet", "write for example"),
        (["bridge=a/b"], "--set network.bridge", "write for example br0"),
        (["bridge=br0", "subnet=10.42.0.0/16", "range=10.43.0.1-10.43.0.9"], "network.range", "is not within"),
        (
            ["bridge=br0", "subnet=10.42.0.0/16", "range=10.42.0.9-10.42.0.1"], "--set network.range",
            "write for example"
        ),
        (["bridge=br0", "subnet=10.42.0.0/16", "gateway=10.42.0.0"], "network.gateway", "name the router"),
    ])
    func keysOfTheNetworkThatDoNotAgreeAreTold(flags: [String], path: String, remedy: String) throws {
        let problem = try #require(problems(nil, flags: flags.map { "network.\($0)" }).first)
        #expect(problem.path == path)
        #expect(problem.message.contains(remedy), "\(problem.message)")
    }

    @Test func everyFieldReadsBackWhatItWrites() throws {
        for role in NodeRole.allCases {
            let configuration = AgentConfiguration(role: role)
            for field in ConfigurationField.all {
                var text = field.text(in: configuration)
                if text.hasPrefix("\"") { text = String(text.dropFirst().dropLast()) }
                var copy = configuration
                let problems = copy.apply(.init(path: field.path, value: text, origin: "test"))
                #expect(problems == [], "\(field.path)")
                #expect(copy == configuration, "\(field.path)")
            }
        }
    }

    @Test func keysAndVariablesAreUniqueAndDescribed() {
        let fields = ConfigurationField.all
        #expect(Set(fields.map(\.path)).count == fields.count)
        #expect(Set(fields.map(\.variable)).count == fields.count)
        for field in fields {
            #expect(!field.effect.isEmpty && !field.unit.isEmpty, "\(field.path)")
        }
        for section in ConfigurationSection.allCases {
            #expect(fields.contains { $0.section == section }, "\(section)")
        }
    }

    @Test func everyProblemIsToldAtOnceWithItsPlaceAndRemedy() {
        let document = mapping([
            ("lisen", mapping([])),
            ("listen", mapping([("prot", scalar("1")), ("port", scalar("70000", line: 3))])),
            ("qos", mapping([("controlPeriod", scalar("5 parsecs", line: 4))])),
            ("log", mapping([("level", scalar("warn", line: 5))])),
            ("folders", mapping([("state", scalar("var/lib", line: 6))])),
            ("metrics", mapping([("enabled", scalar("yes", line: 8)), ("address", scalar("localhost", line: 9))])),
        ])
        let found = problems(document)
        #expect(
            found.map(\.path) == [
                "lisen", "listen.prot", "listen.port", "folders.state", "metrics.enabled", "metrics.address",
                "qos.controlPeriod", "log.level",
            ]
        )
        #expect(found[0].message.contains("did you mean 'listen'?"))
        #expect(found[1].message.contains("did you mean 'port'?"))
        #expect(found[2].message == "70000 is outside 0...65535")
        #expect(found[2].place.line == 3)
        #expect(found[3].message.contains("write /var/lib"))
        #expect(found[6].message.contains("'parsecs' is not a unit of time"))
        #expect(found[7].message.contains("did you mean 'warning'?"))
    }

    @Test func mistypedVariablesAreRefusedAndOthersLeftAlone() {
        // What `godwit` reads.
        #expect(problems(nil, environment: ["GODWIT_IDENTITY": "me.pem", "GODWIT_AGENT": "127.0.0.1:7420"]) == [])
        #expect(problems(nil, environment: ["GODWIT_SERVER": "x", "GODWITLISTEN": "y", "HOME": "/"]) == [])
        let near = problems(nil, environment: ["GODWIT_LISTEN_PROT": "1"])
        #expect(near.count == 1 && near[0].message.contains("did you mean GODWIT_LISTEN_PORT?"))
        let far = problems(nil, environment: ["GODWIT_CONTAINER_LOGS_FLAVOUR": "1"])
        #expect(far.count == 1 && far[0].path == "GODWIT_CONTAINER_LOGS_FLAVOUR")
        let wrong = problems(nil, environment: ["GODWIT_LISTEN_PORT": "high"])
        #expect(wrong.map(\.path) == ["GODWIT_LISTEN_PORT"])
    }

    @Test func malformedFlagsAreRefused() {
        #expect(problems(nil, flags: ["listen.port"])[0].message.contains("expected section.key=value"))
        #expect(problems(nil, flags: ["listen.prot=1"])[0].message.contains("did you mean 'listen.port'?"))
        #expect(problems(nil, flags: ["listen.port=-1"])[0].path == "--set listen.port")
    }

    @Test func agentsToJoinAreAListOrATextWithCommas() throws {
        let nodes = [scalar("10.0.0.1"), scalar("knot.coast:7500"), scalar("[fe80::1]:7420"), scalar("fe80::2")]
        let list = DocumentNode(content: .sequence(nodes), place: DocumentPlace(line: 3, column: 3))
        let file = mapping([("cluster", mapping([("join", list)]))])
        let fromFile = try AgentConfiguration.read(file, role: .worker).cluster.join
        #expect(
            fromFile.map { $0.text() } == ["10.0.0.1:7420", "knot.coast:7500", "[fe80::1]:7420", "[fe80::2]:7420"]
        )
        let environment = ["GODWIT_CLUSTER_JOIN": "10.0.0.1,knot.coast:7500 [fe80::1]:7420 fe80::2"]
        let fromEnvironment = try AgentConfiguration.read(nil, role: .worker, environment: environment).cluster.join
        #expect(fromEnvironment == fromFile)
        #expect(try AgentConfiguration.read(file, role: .worker, flags: ["cluster.join="]).cluster.join == [])
    }

    @Test func whatOnlyLooksLikeAnAddressIsRefusedInItsPlace() {
        let nodes = [
            scalar("10.0.0.1:0", line: 1), scalar("knot_1", line: 2), scalar("10.0.0", line: 3), scalar("::", line: 4),
            scalar("0.0.0.0:7420", line: 5), scalar("[10.0.0.1]:1", line: 6), scalar("knot:99999", line: 7),
            scalar("spiffe://x", line: 8), scalar("", line: 9), scalar("good", line: 10),
        ]
        let list = DocumentNode(content: .sequence(nodes), place: DocumentPlace(line: 3, column: 3))
        let found = problems(
            mapping([("cluster", mapping([("join", list), ("advertise", scalar("0.0.0.0", line: 11))]))])
        )
        #expect(found.map(\.place.line) == [1, 2, 3, 4, 5, 6, 7, 8, 9, 11])
        #expect(found.prefix(9).allSatisfy { $0.path == "cluster.join" } && found.last?.path == "cluster.advertise")
        #expect(found.allSatisfy { $0.message.contains("write ") })
        let many = Array(repeating: scalar("10.0.0.1"), count: 65)
        let long = DocumentNode(content: .sequence(many), place: DocumentPlace(line: 3, column: 3))
        #expect(problems(mapping([("cluster", mapping([("join", long)]))])).map(\.path) == ["cluster.join"])
    }

    @Test func anAdvertisedAddressTakesThePortThatIsListenedOn() throws {
        let read = try AgentConfiguration.read(nil, role: .worker, flags: ["cluster.advertise=knot.coast"])
        #expect(read.cluster.advertise?.text(port: 7500) == "knot.coast:7500")
        let full = try AgentConfiguration.read(nil, role: .worker, flags: ["cluster.advertise=[fe80::1]:7421"])
        #expect(full.cluster.advertise?.text(port: 7500) == "[fe80::1]:7421")
        #expect(try AgentConfiguration.read(nil, role: .worker, flags: ["cluster.advertise="]).cluster.advertise == nil)
    }

    @Test func partitionTimeoutIsBounded() {
        #expect(problems(nil, flags: ["cluster.partitionTimeout=4s"]).map(\.message) == ["4s is outside 5s...1h"])
        #expect(problems(nil, flags: ["cluster.partitionTimeout=2h"]).count == 1)
        #expect(problems(nil, flags: ["cluster.voter=always"])[0].message.contains("write one of auto, never"))
        #expect(problems(nil, flags: ["gossip.profile=wna"])[0].message.contains("did you mean 'wan'?"))
    }

    @Test(arguments: ["0.0.0.0", "::", "::1", "fe80::1", "192.168.1.20", "::ffff:10.0.0.1"])
    func addressesAreAccepted(text: String) {
        #expect(problems(mapping([("listen", mapping([("address", scalar(text))]))])) == [])
    }

    @Test(arguments: ["localhost", "256.0.0.1", "1.2.3", "10.0.0.1:80", "fe80::zz", ""])
    func otherTextsAreNoAddresses(text: String) {
        let found = problems(mapping([("listen", mapping([("address", scalar(text, isQuoted: true))]))]))
        #expect(found.map(\.path) == ["listen.address"])
    }
}
