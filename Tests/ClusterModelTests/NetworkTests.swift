import ClusterModel
import Foundation
import Testing

private let minimal: Sketch = ["name": "job", "image": "./image"]

private func parse(_ sketch: Sketch) throws -> JobSpecification {
    try JobSpecificationParser.parse(sketch.node, folder: "/home/me", now: .epoch)
}

private func problem(_ address: String) -> String? {
    do throws(DocumentProblems) {
        let sketch = minimal.with("network", ["address": .init(stringLiteral: address)])
        _ = try JobSpecificationParser.parse(sketch.node, folder: "/home/me", now: .epoch)
        return nil
    } catch {
        return error.problems.map { "\($0.path): \($0.message)" }.joined(separator: "\n")
    }
}

struct NetworkTests {
    @Test func aJobUsesTheNodesNetworkUnlessItSaysOtherwise() throws {
        let job = try parse(minimal)
        #expect(job.network == nil)
        let text = try #require(String(bytes: JSONEncoder().encode(job), encoding: .utf8))
        #expect(!text.contains("network"), "specifications of older versions must be written as they were")
    }

    @Test(arguments: [
        ("automatic", nil, nil), ("10.42.0.7", "10.42.0.7", nil), ("10.42.0.7/16", "10.42.0.7", 16),
    ])
    func anAddressIsChosenOrNamed(text: String, address: String?, length: Int?) throws {
        let job = try parse(minimal.with("network", ["address": .init(stringLiteral: text)]))
        #expect(job.network?.address?.description == address)
        #expect(job.network?.prefixLength == length)
        let again = try JobSpecificationParser.parse(job.document, folder: "/", now: .epoch)
        #expect(again == job)
        #expect(try JSONDecoder().decode(JobSpecification.self, from: JSONEncoder().encode(job)) == job)
    }

    @Test(arguments: [
        "10.42.0", "10.42.0.256", "10.042.0.1", "10.42.0.1/33", "10.42.0.1/", "fe80::1", "auto", "10.42.0.1/16/2",
    ])
    func whatIsNoAddressIsTold(text: String) {
        #expect(problem(text)?.hasPrefix("network.address: '\(text)' is no address; write automatic, or") == true)
    }

    @Test(arguments: ["127.0.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "10.42.0.0/16", "10.42.255.255/16"])
    func whatNoContainerCanHaveIsTold(text: String) {
        #expect(problem(text)?.contains("take one of a node's network.subnet") == true)
    }

    @Test func theAddressMustBeSaid() {
        do throws(DocumentProblems) {
            let empty = minimal.with("network", ["adress": "automatic"])
            _ = try JobSpecificationParser.parse(empty.node, folder: "/", now: .epoch)
            Issue.record("accepted")
        } catch {
            #expect(error.problems.contains { $0.message.contains("did you mean 'address'") })
        }
    }

    @Test func aPrefixKnowsItsNetwork() throws {
        let prefix = try #require(IPv4Prefix("10.42.3.7/22"))
        #expect(prefix.network.description == "10.42.0.0/22")
        #expect(prefix.last.description == "10.42.3.255")
        for (text, isRoom) in [
            ("10.42.0.0", false), ("10.42.0.1", true), ("10.42.3.254", true), ("10.42.3.255", false),
            ("10.42.4.1", false),
        ] {
            #expect(prefix.hasRoom(for: try #require(IPv4Address(text))) == isRoom, "\(text)")
        }
    }

    @Test func theLowestFreeAddressIsNeitherTheNetworksNorTheGateways() throws {
        let network = NodeNetwork(
            subnet: try #require(IPv4Prefix("10.0.0.0/29")),
            range: try #require(IPv4Range("10.0.0.0-10.0.0.7")),
            gateway: IPv4Address("10.0.0.1")
        )
        var used: Set<IPv4Address> = []
        var given: [String] = []
        while let next = network.lowestFree(except: used) {
            given.append(next.description)
            used.insert(next)
        }
        #expect(given == ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"])
    }
}
