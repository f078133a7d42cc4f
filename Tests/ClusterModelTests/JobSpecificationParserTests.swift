import ClusterModel
import Testing

/// A document as a Swift literal; every part stands in line 1 + its depth-first number, so that places can be told apart.
indirect enum Sketch: ExpressibleByStringLiteral, ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral,
    ExpressibleByIntegerLiteral, ExpressibleByFloatLiteral, ExpressibleByBooleanLiteral
{
    case scalar(String, isQuoted: Bool)
    case list([Sketch])
    case mapping([(String, Sketch)])

    init(stringLiteral text: String) { self = .scalar(text, isQuoted: false) }
    init(arrayLiteral elements: Sketch...) { self = .list(elements) }
    init(dictionaryLiteral pairs: (String, Sketch)...) { self = .mapping(pairs) }
    init(integerLiteral value: Int) { self = .scalar("\(value)", isQuoted: false) }
    init(floatLiteral value: Double) { self = .scalar("\(value)", isQuoted: false) }
    init(booleanLiteral value: Bool) { self = .scalar("\(value)", isQuoted: false) }

    var node: DocumentNode {
        var line = 0
        return node(&line)
    }

    private func node(_ line: inout Int) -> DocumentNode {
        line += 1
        let place = DocumentPlace(line: line, column: 1)
        switch self {
        case .scalar(let text, let isQuoted):
            return DocumentNode(content: .scalar(text: text, isQuoted: isQuoted), place: place)
        case .list(let elements):
            return DocumentNode(content: .sequence(elements.map { $0.node(&line) }), place: place)
        case .mapping(let pairs):
            let pairs = pairs.map { key, value in
                (key: DocumentKey(text: key, place: DocumentPlace(line: line + 1, column: 1)), value: value.node(&line))
            }
            return DocumentNode(content: .mapping(pairs), place: place)
        }
    }

    /// This mapping with a key added or replaced.
    func with(_ key: String, _ value: Sketch) -> Sketch {
        guard case .mapping(let pairs) = self else { return self }
        return .mapping(pairs.filter { $0.0 != key } + [(key, value)])
    }
}

private let minimal: Sketch = ["name": "job", "image": "./image"]
private let now = Timestamp(rawValue: 1_769_860_800_000_000_000)  // 2026-01-31T12:00:00Z

private func parse(_ sketch: Sketch, folder: String = "/home/me") throws -> JobSpecification {
    try JobSpecificationParser.parse(sketch.node, folder: folder, now: now)
}

private func problems(_ sketch: Sketch, folder: String = "/home/me") -> [DocumentProblem] {
    do throws(DocumentProblems) {
        _ = try JobSpecificationParser.parse(sketch.node, folder: folder, now: now)
        return []
    } catch {
        return error.problems
    }
}

/// Expects one problem at a path whose message contains a text.
private func expectProblem(
    _ sketch: Sketch,
    at path: String,
    _ text: String,
    folder: String = "/home/me",
    location: SourceLocation = #_sourceLocation
) {
    let found = problems(sketch, folder: folder)
    #expect(found.count == 1, "\(found)", sourceLocation: location)
    #expect(found.first?.path == path, sourceLocation: location)
    #expect(found.first?.message.contains(text) == true, "\(found)", sourceLocation: location)
}

struct JobSpecificationParserTests {
    @Test func nameAndImageAreEnough() throws {
        let specification = try parse(minimal)
        #expect(
            specification
                == JobSpecification(
                    name: "job",
                    kind: .batch,
                    image: .ociFolder(path: "/home/me/image", reference: nil)
                )
        )
    }

    @Test func everyKeyIsRead() throws {
        let specification = try parse([
            "name": "linpack", "kind": "iterative", "image": ["ociLayout": "images/linpack", "reference": "v2"],
            "command": ["linpack", "--size", 4000], "env": ["B": "2", "A": true], "workingDirectory": "/work/./dir/",
            "user": "1000:1000", "mounts": [["source": "../data", "target": "/data", "readOnly": true]],
            "resources": ["cpus": 2, "cpuLimit": "1500m", "memory": "512MiB", "gpus": 1, "processes": 64],
            "objective": ["iterations": 10, "iterationTime": "90s", "startOverhead": "PT2S", "deadline": "45m"],
            "policy": "paper", "maxOverprogress": 0.1, "weight": 3,
            "retries": ["limit": 3, "backoff": "2s", "maximumBackoff": "1m"],
            "checkpoint": [
                "interval": "30s", "generations": 3, "recovery": "restart", "tcpEstablished": true, "replicas": 2,
                "otherSite": true, "spaceLimit": "4GiB",
            ],
            "labels": ["z": "1", "project": "climate"],
        ])
        var expected = JobSpecification(
            name: "linpack",
            kind: .iterative,
            image: .ociFolder(path: "/home/me/images/linpack", reference: "v2")
        )
        expected.command = ["linpack", "--size", "4000"]
        expected.environment = [.init(name: "A", value: "true"), .init(name: "B", value: "2")]
        expected.workingDirectory = "/work/dir"
        expected.user = "1000:1000"
        expected.mounts = [.init(source: "/home/data", target: "/data", isReadOnly: true)]
        expected.resources.cpus = 2
        expected.resources.cpuLimit = 1.5
        expected.resources.memory = .mebibytes(512)
        expected.resources.gpus = 1
        expected.resources.processLimit = 64
        expected.objective = .iterations(
            count: 10,
            expected: .seconds(90),
            startOverhead: .seconds(2),
            deadline: .seconds(2700)
        )
        expected.policy = .paper
        expected.maxOverprogress = 0.1
        expected.weight = 3
        expected.retries.limit = 3
        expected.retries.backoff = .seconds(2)
        expected.retries.maximumBackoff = .seconds(60)
        expected.checkpoint.interval = .seconds(30)
        expected.checkpoint.generations = 3
        expected.checkpoint.recovery = .restart
        expected.checkpoint.tcpEstablished = true
        expected.checkpoint.replicas = 2
        expected.checkpoint.otherSite = true
        expected.checkpoint.spaceLimit = .gibibytes(4)
        expected.labels = [.init(key: "project", value: "climate"), .init(key: "z", value: "1")]
        #expect(specification == expected)
        #expect(try JobSpecificationParser.parse(specification.document, folder: "/", now: now) == specification)
    }

    @Test func everyProblemIsToldAtOnce() {
        let found = problems([
            "nmae": "x", "image": "alpine:3.20", "command": "echo hi", "workingDirectory": "work",
            "resources": ["cpus": 0, "memmory": "1GiB"], "policy": "deadlin", "retries": ["limit": -1],
            "checkpoint": ["generations": 0],
        ])
        #expect(
            found.map(\.path) == [
                "nmae", "name", "image", "command", "workingDirectory", "resources.memmory", "resources.cpus", "policy",
                "retries.limit", "checkpoint.generations",
            ]
        )
        #expect(found[0].message == "unknown key 'nmae'; did you mean 'name'?")
        #expect(found[2].message.contains("docker://alpine:3.20"))
        #expect(found[3].message.contains("[sh, -c, \"echo hi\"]"))
        #expect(found[4].message.contains("write /work"))
        #expect(found[6].message == "0 is outside 0.01...4096")
        #expect(found[7].message.contains("did you mean 'deadline'?"))
        #expect(found[9].message == "0 is outside 1...16")
    }

    @Test func problemsNameTheirPlace() {
        let found = problems(["name": "job", "image": "./i", "resources": ["cpus": "many"]])
        #expect(found.map(\.place) == [DocumentPlace(line: 5, column: 1)])
        #expect(found[0].description.hasPrefix("line 5, column 1: resources.cpus: 'many' is not a number of vCPUs"))
    }

    @Test func aDocumentMustBeAMapping() {
        expectProblem("text", at: "", "expected a mapping")
        expectProblem([], at: "", "expected a mapping")
    }
}

struct JobNameTests {
    @Test(arguments: ["a", "job-7", "0", "a23456789012345678901234567890123456789012345678901234567890123"])
    func labelsAreNames(name: Sketch) throws {
        #expect(try parse(minimal.with("name", name)).name.count > 0)
    }

    @Test func othersAreRefusedWithAnExample() {
        expectProblem(minimal.with("name", "My Job_2!"), at: "name", "for example my-job-2")
        expectProblem(minimal.with("name", "-"), at: "name", "1 to 63 of a-z")
        expectProblem(minimal.with("name", ["a"]), at: "name", "found a list")
        expectProblem(["image": "./image"], at: "name", "add name: my-job")
    }
}

struct JobImageTests {
    @Test func shorthands() throws {
        func image(_ text: Sketch) throws -> JobSpecification.ImageSource {
            try parse(minimal.with("image", text)).image
        }
        #expect(try image("docker://alpine:3.20") == .registry(reference: "docker://alpine:3.20"))
        #expect(try image("/srv/a/../b") == .ociFolder(path: "/srv/b", reference: nil))
        #expect(try image("./a.tar") == .ociArchive(path: "/home/me/a.tar", reference: nil))
        #expect(try image("../x/lay:v1") == .ociFolder(path: "/home/x/lay", reference: "v1"))
        #expect(try image("./a.b:latest") == .ociFolder(path: "/home/me/a.b", reference: "latest"))
        #expect(try image("/srv/with:colon/lay") == .ociFolder(path: "/srv/with:colon/lay", reference: nil))
    }

    @Test func mappings() throws {
        func image(_ sketch: Sketch) throws -> JobSpecification.ImageSource {
            try parse(minimal.with("image", sketch)).image
        }
        #expect(
            try image(["ociArchive": "i.tar", "reference": "a"]) == .ociArchive(path: "/home/me/i.tar", reference: "a")
        )
        #expect(try image(["rootfs": "/srv/root"]) == .rootFolder(path: "/srv/root"))
        #expect(try image(["rootfsArchive": "root.tar.gz"]) == .rootArchive(path: "/home/me/root.tar.gz"))
        #expect(try image(["registry": "quay.io/a/b:1"]) == .registry(reference: "docker://quay.io/a/b:1"))
    }

    @Test func wrongOnesAreRefused() {
        expectProblem(["name": "job"], at: "image", "the job has no image")
        expectProblem(minimal.with("image", ["rootfs": "/a", "registry": "b"]), at: "image", "exactly one of")
        expectProblem(minimal.with("image", [:]), at: "image", "none is there")
        expectProblem(minimal.with("image", ["rootfs": "/a", "reference": "b"]), at: "image.reference", "remove it")
        expectProblem(minimal.with("image", ["rootFs": "/a"]).with("x", 1), at: "x", "unknown key", count: 3)
        expectProblem(
            minimal.with("image", "~/image"),
            at: "image",
            "write docker://~/image for a registry or ./~/image"
        )
        expectProblem(minimal.with("image", ["rootfs": "~/i"]), at: "image.rootfs", "does not know your home folder")
        expectProblem(minimal, at: "image", "no folder is known", folder: "")
    }

    private func expectProblem(
        _ sketch: Sketch,
        at path: String,
        _ text: String,
        count: Int,
        folder: String = "/home/me"
    ) {
        let found = problems(sketch, folder: folder)
        #expect(found.count == count && found.contains { $0.path == path && $0.message.contains(text) }, "\(found)")
    }

    private func expectProblem(_ sketch: Sketch, at path: String, _ text: String, folder: String = "/home/me") {
        expectProblem(sketch, at: path, text, count: 1, folder: folder)
    }
}

struct JobContentTests {
    @Test func commandsAreLists() {
        expectProblem(minimal.with("command", ["sh", ["x"]]), at: "command[1]", "found a list")
        expectProblem(minimal.with("command", ["", "x"]), at: "command", "name is empty")
        expectProblem(minimal.with("command", ["a\0b"]), at: "command[0]", "zero byte")
    }

    @Test func environmentNamesAreUsable() {
        expectProblem(minimal.with("env", ["A=B": "x"]), at: "env.A=B", "has no =")
        expectProblem(minimal.with("env", ["A": "1", "A": "2"]), at: "env.A", "occurs twice")
        expectProblem(minimal.with("env", ["A=1"]), at: "env", "write it like env: {THREADS: 4}")
        expectProblem(minimal.with("env", ["A": ["x"]]), at: "env.A", "found a list")
    }

    @Test(arguments: ["root", "1000", "1000:100", "www-data:www-data"])
    func usersAreAccepted(user: Sketch) throws { #expect(try parse(minimal.with("user", user)).user != nil) }

    @Test(arguments: ["", "a b", "1:2:3", ":5", "99999999999"])
    func otherUsersAreRefused(user: String) {
        #expect(problems(minimal.with("user", .scalar(user, isQuoted: true))).map(\.path) == ["user"])
    }

    @Test func mountsAreChecked() {
        func mount(_ sketch: Sketch) -> Sketch { minimal.with("mounts", [sketch]) }
        expectProblem(mount(["source": "/a", "target": "data"]), at: "mounts[0].target", "write /data")
        expectProblem(mount(["source": "/a", "target": "/x/../y"]), at: "mounts[0].target", "..")
        expectProblem(mount(["source": "/a", "target": "/"]), at: "mounts[0].target", "whole container")
        expectProblem(mount(["source": "/a"]), at: "mounts[0].target", "has no target")
        expectProblem(
            mount(["source": "/a", "target": "/b", "readonly": true]),
            at: "mounts[0].readonly",
            "'readOnly'"
        )
        expectProblem(
            mount(["source": "/a", "target": "/b", "readOnly": "yes"]),
            at: "mounts[0].readOnly",
            "true or false"
        )
        let twice: Sketch = [["source": "/a", "target": "/d"], ["source": "/b", "target": "/d/"]]
        expectProblem(minimal.with("mounts", twice), at: "mounts[1].target", "mounted twice")
    }

    @Test func resourcesAreChecked() {
        func resources(_ sketch: Sketch) -> Sketch { minimal.with("resources", sketch) }
        expectProblem(resources(["memory": 512]), at: "resources.memory", "write 512MiB or 512GiB")
        expectProblem(resources(["memory": "512MB!"]), at: "resources.memory", "not a unit of memory")
        expectProblem(resources(["memory": "1KiB"]), at: "resources.memory", "outside 1MiB")
        expectProblem(resources(["gpus": 0.5]), at: "resources.gpus", "whole number")
        expectProblem(resources(["cpus": "5000"]), at: "resources.cpus", "outside 0.01...4096")
        expectProblem(resources(["cores": 4]), at: "resources.cores", "known keys here: cpus")
        expectProblem(resources(["processes": 0]), at: "resources.processes", "outside")
    }

    @Test func numbersOutsideTheirRangeAreRefused() {
        expectProblem(minimal.with("weight", 0), at: "weight", "0 is outside 0.01...100")
        expectProblem(minimal.with("maxOverprogress", "20%"), at: "maxOverprogress", "20% is 0.2")
        expectProblem(
            minimal.with("retries", ["backoff": "5m", "maximumBackoff": "1m"]),
            at: "retries.maximumBackoff",
            "shorter"
        )
        expectProblem(minimal.with("checkpoint", ["interval": "100ms"]), at: "checkpoint.interval", "outside 1s")
    }
}

struct JobObjectiveTests {
    private func objective(_ sketch: Sketch, cpus: Sketch = 2) -> Sketch {
        minimal.with("resources", ["cpus": cpus]).with("objective", sketch)
    }

    @Test func cpuTimeWithinAFrame() throws {
        #expect(
            try parse(objective(["cpuTime": 400, "frame": "8m"])).objective
                == .cpuTime(amount: .seconds(400), frame: .seconds(480))
        )
        #expect(
            try parse(objective(["cpuTime": 400, "deadline": "8m"])).objective
                == .cpuTime(amount: .seconds(400), frame: .seconds(480))
        )
    }

    @Test func iterationsMakeAJobIterative() throws {
        let specification = try parse(objective(["iterations": 3, "iterationTime": "10s", "deadline": "1m"]))
        #expect(specification.kind == .iterative)
        let expected = JobSpecification.Objective.iterations(
            count: 3,
            expected: .seconds(10),
            startOverhead: .zero,
            deadline: .seconds(60)
        )
        #expect(specification.objective == expected)
    }

    @Test func aMomentCountsFromTheSubmission() throws {
        let moment = try parse(objective(["cpuTime": 10, "deadline": "2026-01-31T12:01:00Z"]))
        #expect(moment.deadlineSpan == .seconds(60))
        let zone = try parse(objective(["cpuTime": 10, "deadline": "2026-01-31T13:02:00+01:00"]))
        #expect(zone.deadlineSpan == .seconds(120))
    }

    @Test func aDeadlineInThePastIsRefused() {
        expectProblem(
            objective(["cpuTime": 10, "deadline": "2026-01-31T11:00:00Z"]),
            at: "objective.deadline",
            "has passed 1 h ago"
        )
    }

    @Test func whatCanNeverBeGrantedIsRefused() {
        expectProblem(
            objective(["cpuTime": "12h", "frame": "1h"], cpus: 4),
            at: "objective.cpuTime",
            "impossible: 12 h of CPU time within 1 h needs 12.00 vCPUs, and the job can use at most 4.00; raise resources.cpus"
        )
        let limited = minimal.with("resources", ["cpus": 4, "cpuLimit": 1]).with(
            "objective",
            ["cpuTime": 90, "frame": 60]
        )
        expectProblem(limited, at: "objective.cpuTime", "raise resources.cpuLimit")
        #expect(problems(objective(["cpuTime": 120, "frame": 60])) == [])
    }

    @Test func halvesAndMixturesAreRefused() {
        expectProblem(objective([:]), at: "objective", "write cpuTime and frame")
        expectProblem(objective(["cpuTime": 1]), at: "objective.frame", "add frame: 10m")
        expectProblem(objective(["cpuTime": 1, "frame": 9, "deadline": 9]), at: "objective.frame", "keep one of them")
        expectProblem(objective(["cpuTime": 1, "iterations": 9]), at: "objective", "two kinds of objective")
        expectProblem(
            objective(["cpuTime": 1, "frame": 9, "iterationTime": 1]),
            at: "objective.iterationTime",
            "remove it"
        )
        let found = problems(objective(["iterations": 0]))
        #expect(found.map(\.path) == ["objective.iterations", "objective.iterationTime", "objective.deadline"])
    }

    @Test func kindAndObjectiveMustAgree() {
        expectProblem(minimal.with("kind", "iterative"), at: "kind", "needs objective.iterations")
        expectProblem(
            objective(["iterations": 3, "iterationTime": "10s", "deadline": "1m"]).with("kind", "batch"),
            at: "kind",
            "is for kind: iterative"
        )
        expectProblem(minimal.with("kind", "bacth"), at: "kind", "did you mean 'batch'?")
    }
}

extension JobSpecification {
    fileprivate var deadlineSpan: Duration? {
        switch objective {
        case .cpuTime(_, let frame): frame
        case .iterations(_, _, _, let deadline): deadline
        case nil: nil
        }
    }
}
