import ClusterModel
import Testing

struct DocumentTextTests {
    private var specification: JobSpecification {
        var result = JobSpecification(name: "a", kind: .batch, image: .rootFolder(path: "/r"))
        result.command = ["sh", "-c", "echo \"no\"", "no", "1"]
        result.environment = [.init(name: "EMPTY", value: ""), .init(name: "M", value: "007")]
        result.resources.memory = .gibibytes(2)
        result.objective = .cpuTime(amount: .seconds(90), frame: .seconds(3600))
        return result
    }

    @Test func yamlIsWhatAPersonWouldWrite() {
        #expect(
            specification.document.yamlText == """
                name: a
                kind: batch
                image:
                  rootfs: /r
                command: [sh, "-c", "echo \\"no\\"", "no", "1"]
                env:
                  EMPTY: ""
                  M: "007"
                resources:
                  cpus: 1
                  memory: 2GiB
                objective:
                  cpuTime: 1m30s
                  frame: 1h

                """
        )
    }

    @Test func jsonKeepsNumbersBareAndTextsQuoted() {
        #expect(
            specification.document.jsonText
                == #"{"name":"a","kind":"batch","image":{"rootfs":"/r"},"command":["sh","-c","echo \"no\"","no","1"],"#
                + #""env":{"EMPTY":"","M":"007"},"resources":{"cpus":1,"memory":"2GiB"},"#
                + #""objective":{"cpuTime":"1m30s","frame":"1h"}}"#
        )
    }

    @Test(arguments: [
        "yes", "No", "null", "~", "1", "1.5", "-x", "a: b", "#c", "a\nb", "\u{85}", "é", "*a", "&a", "true", "",
    ])
    func textsThatYAMLWouldMistakeAreQuoted(text: String) {
        let written = yamlScalar(text, isQuoted: true)
        #expect(written.hasPrefix("\"") && written.hasSuffix("\""))
    }

    @Test(arguments: ["alpine", "/srv/a-b_c.d", "docker", "./x", "restart"])
    func wordsAndPathsStayPlain(text: String) { #expect(yamlScalar(text, isQuoted: true) == text) }
}
