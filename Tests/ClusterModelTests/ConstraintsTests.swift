import ClusterModel
import Foundation
import Testing

private let minimal: Sketch = ["name": "job", "image": "./image"]

private func parse(_ sketch: Sketch) throws -> JobSpecification {
    try JobSpecificationParser.parse(sketch.node, folder: "/home/me", now: .epoch)
}

private func problems(_ sketch: Sketch) -> [String] {
    do throws(DocumentProblems) {
        _ = try JobSpecificationParser.parse(sketch.node, folder: "/home/me", now: .epoch)
        return []
    } catch {
        return error.problems.map { "\($0.path): \($0.message)" }
    }
}

struct ConstraintsTests {
    @Test func aJobMayRunEverywhereAndStopsWhenCutOff() throws {
        let job = try parse(minimal)
        #expect(job.constraints == JobSpecification.Constraints())
        #expect(job.spread == .nodes)
        #expect(job.onPartition == .stop)
    }

    @Test func oneNameAndAListSayTheSame() throws {
        let one = try parse(minimal.with("constraints", ["site": "north", "role": "gateway", "node": "n1"])).constraints
        let listed = try parse(
            minimal.with("constraints", ["site": ["north"], "role": ["gateway"], "node": ["n1", "n1"]])
        ).constraints
        #expect(one == listed)
        #expect(one.sites == [SiteID(rawValue: "north")])
        #expect(one.roles == [.gateway])
        #expect(one.nodes == [NodeID(rawValue: "n1")])
    }

    @Test func everyConstraintComesBackFromItsDocument() throws {
        let sketch = minimal.with("spread", "pack").with("onPartition", "continue").with(
            "constraints",
            [
                "site": ["south", "north"], "role": ["worker", "gateway"], "node": "n7",
                "labels": ["gpu": "a100", "disk": "ssd"],
            ]
        )
        let job = try parse(sketch)
        #expect(job.constraints.sites.map(\.rawValue) == ["north", "south"])
        #expect(job.constraints.roles == [.gateway, .worker])
        #expect(job.constraints.labels.map(\.key) == ["disk", "gpu"])
        #expect(job.spread == .pack)
        #expect(job.onPartition == .continue)
        #expect(try JobSpecificationParser.parse(job.document, folder: "/", now: .epoch) == job)
    }

    private static let wrong: [(Sketch, String)] = [
        (["site": []], "constraints.site: the list is empty"),
        (["site": "No rth"], "constraints.site: 'No rth' cannot be a name"),
        (["node": ["n1", "-"]], "constraints.node[1]: '-' cannot be a name"),
        (["role": "wroker"], "constraints.role: 'wroker' is not known here; did you mean 'worker'?"),
        (["sites": "north"], "constraints.sites: unknown key 'sites'; did you mean 'site'?"),
        (["labels": ["a"]], "constraints.labels: expected a mapping"),
    ]

    @Test func whatIsWrongIsNamedWithItsPlace() {
        for (constraints, expected) in Self.wrong {
            let found = problems(minimal.with("constraints", constraints))
            #expect(found.count == 1, "\(expected): \(found)")
            #expect(found.first?.hasPrefix(expected) == true, "\(expected): \(found)")
        }
    }

    @Test func otherWordsAreRefused() {
        #expect(problems(minimal.with("spread", "packed")).first?.contains("did you mean 'pack'?") == true)
        #expect(problems(minimal.with("onPartition", "wait")).first?.contains("write one of stop, continue") == true)
        let many = Sketch.list((1...65).map { .scalar("n\($0)", isQuoted: false) })
        #expect(problems(minimal.with("constraints", ["node": many])).first?.contains("more than 64") == true)
    }

    /// What version 1 stored has none of the three; what is stored without them has the bytes of version 1.
    @Test func defaultsAreNotStored() throws {
        var job = JobSpecification(name: "job", kind: .batch, image: .rootFolder(path: "/r"))
        job.onPartition = .continue
        job.spread = .sites
        job.constraints.sites = [SiteID(rawValue: "north")]
        let stored = String(decoding: try JSONEncoder().encode(job), as: UTF8.self)
        for key in ["\"onPartition\"", "\"spread\"", "\"constraints\""] { #expect(stored.contains(key)) }
        #expect(try JSONDecoder().decode(JobSpecification.self, from: Data(stored.utf8)) == job)
        job.onPartition = .stop
        job.spread = .nodes
        job.constraints = JobSpecification.Constraints()
        let plain = String(decoding: try JSONEncoder().encode(job), as: UTF8.self)
        for key in ["onPartition", "spread", "constraints"] { #expect(!plain.contains(key)) }
        #expect(try JSONDecoder().decode(JobSpecification.self, from: Data(plain.utf8)) == job)
    }
}
