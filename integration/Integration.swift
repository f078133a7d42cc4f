import ClusterModel
import Glibc

// Runs Godwit for real: agents as processes, runc, CRIU and cgroups, and the faults that they must stand.
//
// integration list | run [--all] [--seed N] [--kills N] [--storm SECONDS] [--before FOLDER] [--keep]
//                               [--programs FOLDER] [SCENARIO ...]

let scenarios: [any Scenario.Type] = [
    DeadlineBesideNeighbours.self, CheckpointKillRestore.self, EveryEndHasASentence.self, ResizeWithoutRestart.self,
    RunsAsItsUser.self, LogsAreKept.self, RestartOfTheAgent.self, CrashOfTheMachine.self, DamagedCheckpoint.self,
    WhoMayDoWhat.self, FullDisk.self, KillNine.self, ManyNodes.self, RestartAmongOthers.self,
    Partitions.self, EverythingAtOnce.self, RollingUpgrade.self,
]

let usage = """
    Usage: integration list
           integration run (--all | SCENARIO ...) [--seed N] [--kills N] [--storm SECONDS]
                           [--before FOLDER] [--keep] [--programs FOLDER]

    Runs scenarios against real agents, containers and checkpoints; must run as root.

      --all              every scenario
      --seed N           repeats a run's random choices; printed at the start (default: from the clock)
      --kills N          how often KillNine kills the agent (default 200)
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
        func value(of option: String) -> String {
            guard !words.isEmpty else { fail("\(option) needs a value") }
            return words.removeFirst()
        }
        while !words.isEmpty {
            let word = words.removeFirst()
            switch word {
            case "--all": wantsAll = true
            case "--keep": options.keepsFolders = true
            case "--seed":
                guard let seed = UInt64(value(of: word)) else { fail("--seed needs a number") }
                options.seed = seed
            case "--kills":
                guard let kills = Int(value(of: word)), kills > 0 else { fail("--kills needs a number") }
                options.killCount = kills
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
        }
        guard wantsAll || !chosen.isEmpty else { fail("name a scenario, or --all") }
        guard geteuid() == 0 else { fail("containers need root") }

        await ScenarioRun.removeLeftovers()
        say("seed \(options.seed)\n")
        var failures = 0
        let selected = scenarios.filter { wantsAll || chosen.contains($0.name) }
        for scenario in selected {
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
        say("\(selected.count - failures) passed, \(failures) failed\n")
        exit(failures == 0 ? 0 : 1)
    }
}
