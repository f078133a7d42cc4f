import ClusterModel
import Glibc

// Runs Godwit for real: agents as processes, runc, CRIU and cgroups, and the faults that they must stand.
//
// integration list | run [--all] [--at-once N] [--seed N] [--kills N] [--moves N] [--storm SECONDS]
//                               [--before FOLDER] [--keep] [--programs FOLDER] [SCENARIO ...]

let scenarios: [any Scenario.Type] = [
    DeadlineBesideNeighbours.self, CheckpointKillRestore.self, EveryEndHasASentence.self, ResizeWithoutRestart.self,
    RunsAsItsUser.self, LogsAreKept.self, RestartOfTheAgent.self, CrashOfTheMachine.self, DamagedCheckpoint.self,
    WhoMayDoWhat.self, FullDisk.self, RestartAmongOthers.self, RollingUpgrade.self, ManyNodes.self, ClusterLife.self,
    CheckpointOutlivesNode.self, Migration.self, NetworkedContainers.self, DeadlinesAreSaved.self,
    MigrationUnderFaults.self, KillNine.self, Partitions.self,
    EverythingAtOnce.self,
]

let usage = """
    Usage: integration list
           integration run (--all | SCENARIO ...) [--at-once N] [--seed N] [--kills N]
                           [--moves N] [--storm SECONDS] [--before FOLDER] [--keep]
                           [--programs FOLDER]

    Runs scenarios against real agents, containers and checkpoints; must run as root.

      --all              every scenario
      --at-once N        how many run at a time, in processes of their own; those that measure
                         the machine run alone (default 1)
      --within PID       ends with this process: how --at-once starts the others
      --seed N           repeats a run's random choices; printed at the start (default: from the clock)
      --kills N          how often KillNine kills the agent (default 200)
      --moves N          how often NetworkedContainers moves its container, with agents killed
                         in half as many more, and during how many moves
                         MigrationUnderFaults kills agents (default 4)
      --storm SECONDS    how long EverythingAtOnce goes on (default 45)
      --before FOLDER    programs of another build, from which RollingUpgrade upgrades
                         (default: those of --programs)
      --keep             keeps the folders of scenarios that passed, too
      --programs FOLDER  where godwitd, godwit and godwit-shim are (default: beside this program)

    Exit status: 0 all passed; 1 one failed; 2 wrong arguments.

    """

func fail(_ message: String) -> Never {
    say("integration: \(message)\n\n\(usage)")
    exit(2)
}

/// The command line of the integration program.
@main
enum Integration {
    static func main() async {
        var options = ScenarioOptions()
        var chosen: [String] = []
        var words = Array(CommandLine.arguments.dropFirst())
        guard let verb = words.first else { fail("say what to do") }
        words.removeFirst()
        if verb == "list" {
            for scenario in scenarios { say("\(scenario.name): \(scenario.promise)\n") }
            exit(0)
        }
        if verb == "--help" || verb == "-h" {
            say(usage)
            exit(0)
        }
        guard verb == "run" else { fail("there is no command '\(verb)'") }
        var wantsAll = false
        var width = 1
        var parent: Int32?
        // What the processes of scenarios that run at the same time are told, too.
        var shared: [String] = []
        func value(of option: String) -> String {
            guard !words.isEmpty else { fail("\(option) needs a value") }
            return words.removeFirst()
        }
        while !words.isEmpty {
            let before = words
            let word = words.removeFirst()
            switch word {
            case "--all": wantsAll = true
            case "--at-once":
                guard let count = Int(value(of: word)), count > 0 else { fail("--at-once needs a number") }
                width = count
            case "--within":
                guard let pid = Int32(value(of: word)) else { fail("--within needs a process") }
                parent = pid
            case "--keep": options.keepsFolders = true
            case "--seed":
                guard let seed = UInt64(value(of: word)) else { fail("--seed needs a number") }
                options.seed = seed
            case "--kills":
                guard let kills = Int(value(of: word)), kills > 0 else { fail("--kills needs a number") }
                options.killCount = kills
            case "--moves":
                guard let moves = Int(value(of: word)), moves > 0 else { fail("--moves needs a number") }
                options.moveCount = moves
            case "--storm":
                guard let seconds = Int(value(of: word)), seconds > 0 else { fail("--storm needs a number of seconds") }
                options.stormLength = .seconds(seconds)
            case "--before": options.programsBefore = value(of: word)
            case "--programs": options.programsFolder = value(of: word)
            case "--help", "-h":
                say(usage)
                exit(0)
            default:
                guard scenarios.contains(where: { $0.name == word }) else {
                    fail("there is no scenario or option '\(word)'")
                }
                chosen.append(word)
            }
            if ["--keep", "--kills", "--moves", "--storm", "--before", "--programs"].contains(word) {
                shared += before.prefix(before.count - words.count)
            }
        }
        guard wantsAll || !chosen.isEmpty else { fail("name a scenario, or --all") }
        guard geteuid() == 0 else { fail("containers need root") }

        if let parent { SideBySide.endWith(parent: parent) }
        await ScenarioRun.removeLeftovers()
        let selected = scenarios.filter { wantsAll || chosen.contains($0.name) }
        if parent == nil { say("seed \(options.seed)\n") }
        let failures =
            width > 1
            ? await SideBySide(words: ["--seed", String(options.seed)] + shared, width: width).run(selected)
            : await run(selected, options)
        if parent == nil { say("\(selected.count - failures) passed, \(failures) failed\n") }
        exit(failures == 0 ? 0 : 1)
    }

    /// Runs scenarios one after the other; returns how many failed.
    private static func run(_ scenarios: [any Scenario.Type], _ options: ScenarioOptions) async -> Int {
        var failures = 0
        for scenario in scenarios {
            let began = ContinuousClock.now
            say("--- \(scenario.name): \(scenario.promise)\n")
            let outcome = await ScenarioRun(options: options, name: scenario.name).run(scenario.init())
            let took = began.duration(to: .now).text
            switch outcome {
            case .passed: say("    passed in \(took)\n")
            case .failed(let reason, let folder):
                failures += 1
                say("    FAILED after \(took): \(reason)\n    seed \(options.seed), folder \(folder)\n")
            }
        }
        return failures
    }
}
