import ClusterModel
import Testing

struct ClosestTextTests {
    @Test(arguments: [
        ("memmory", "memory"), ("Memory", "memory"), ("cpu", "cpus"), ("working_directory", "workingDirectory"),
        ("mem", "memory"), ("recoverry", "recovery"), ("iamge", "image"), ("lables", "labels"),
    ])
    func findsWhatWasMeant(text: String, meant: String) {
        let keys = ["name", "image", "memory", "cpus", "workingDirectory", "recovery", "labels"]
        #expect(closestText(to: text, among: keys) == meant)
    }

    @Test(arguments: ["colour", "x", "", "zzzzzzzz"])
    func staysSilentWhenNothingIsNear(text: String) {
        #expect(closestText(to: text, among: ["name", "image", "memory"]) == nil)
    }

    @Test func tiesGoToTheFirst() {
        #expect(closestText(to: "port", among: ["sort", "fort"]) == "sort")
    }

    @Test func beginningsCountOnlyWhenAsked() {
        #expect(closestText(to: "warn", among: ["warning"]) == "warning")
        #expect(closestText(to: "warn", among: ["warning"], takesBeginnings: false) == nil)
    }

    @Test func longTextsAreBounded() {
        let long = String(repeating: "a", count: 1_000_000)
        #expect(closestText(to: long, among: [long + "b"]) != nil)
    }
}
