import ClusterModel
import Foundation
import Testing

@testable import Agent

/// Documents of users become jobs, or every problem with its place; and jobs become documents again.
struct DocumentShellTests {
    private static let shell = DocumentShell()

    @Test func relativePathsStartWhereTheUserStood() throws {
        let text = "name: solver\nimage: {rootfs: ./root}\ncommand: [work]\n"
        let specification = try Self.shell.jobSpecification(Array(text.utf8), name: "j.yaml", baseFolder: "/home/ada")
        #expect(specification.image == .rootFolder(path: "/home/ada/root"))
        let elsewhere = try Self.shell.jobSpecification(Array(text.utf8), name: "j.yaml", baseFolder: "not absolute")
        #expect(elsewhere.image == .rootFolder(path: "/root"))
    }

    @Test func everyProblemComesWithItsPlace() {
        let text = "name: solver\nimage: {rootfs: /r}\nresources:\n  cpu: 2\n  memory: 12 parsecs\n"
        do {
            _ = try Self.shell.jobSpecification(Array(text.utf8), name: "j.yaml", baseFolder: "/")
            Issue.record("it was accepted")
        } catch let problems as DocumentProblems {
            #expect(problems.problems.map(\.place.line) == [4, 5])
            #expect(problems.problems[0].message.contains("'cpus'"))
        } catch {
            Issue.record("not a list of problems: \(error)")
        }
    }

    @Test func textThatIsNoDocumentIsOneProblem() {
        #expect(throws: DocumentProblems.self) {
            _ = try Self.shell.jobSpecification(Array("a: [".utf8), name: "j.yaml", baseFolder: "/")
        }
    }

    @Test func aJobIsPrintedAsJSONThatReadsBackAsTheSameJob() throws {
        let specification = Bench.specification("solver") { specification in
            specification.command = ["sh", "-c", "echo \"a\\b\"\n"]
            specification.environment = [.init(name: "N", value: "007"), .init(name: "T", value: "true")]
            specification.resources.memory = .mebibytes(512)
            specification.resources.cpus = 1.5
            specification.objective = .cpuTime(amount: .seconds(60), frame: .seconds(90))
            specification.labels = [.init(key: "k", value: "1e5")]
        }
        let json = specification.document.jsonText
        #expect(throws: Never.self) { try JSONSerialization.jsonObject(with: Data(json.utf8)) }
        let again = try Self.shell.jobSpecification(Array(json.utf8), name: "j.json", baseFolder: "/")
        #expect(again == specification)
    }
}
