package import ClusterModel

/// How long to wait before a try.
package enum Backoff {
    /// `first`, doubled with each attempt after the first, at most `maximum`; attempts count from 1.
    package static func delay(attempt: Int, first: Duration, maximum: Duration) -> Duration {
        guard attempt >= 1, first > .zero else { return .zero }
        var delay = first
        for _ in 1..<max(2, min(attempt, 64)) where attempt > 1 && delay < maximum { delay += delay }
        return min(delay, maximum)
    }
}

/// What a container's end means, in words for its owner.
package struct ExitDiagnosis: Sendable, Equatable {
    /// What happened and what to do: plain sentences, ending with a full stop.
    package var sentence: String

    /// Explains an exit of a job's container.
    package init(_ exit: ContainerExit, of record: JobRecord) {
        self.init(exit, specification: record.specification, memoryLimit: record.memoryLimit)
    }

    /// Explains an exit.
    package init(_ exit: ContainerExit, specification: JobSpecification, memoryLimit: ByteCount?) {
        let program = specification.command.first.map { "'\($0)'" } ?? "The image's command"
        switch exit {
        case .exited(let code):
            sentence = "\(program) ended with exit code \(code)\(Self.meaning(ofExitCode: code))."
        case .signalled(let number, true):
            let limit = memoryLimit.map { "its memory limit of \($0)" } ?? "the memory of the node"
            let remedy =
                memoryLimit == nil
                ? "Run fewer jobs beside it, or give them limits with `resources.memory`."
                : "Raise `resources.memory`, or make the program use less."
            sentence =
                "The kernel ended it with \(Self.name(ofSignal: number)) because it needed more than \(limit). \(remedy)"
        case .signalled(let number, false):
            sentence = "It was ended by \(Self.name(ofSignal: number))\(Self.meaning(ofSignal: number))."
        case .notStarted(let reason):
            let text = reason.isEmpty ? "no reason is known" : reason
            sentence = "It could not be started: \(text)" + (text.hasSuffix(".") ? "" : ".")
        case .fenced:
            sentence =
                "Its node was out of touch with the cluster for longer than `cluster.partitionTimeout` and ended it, so that it "
                + "cannot run twice."
        case .lost:
            sentence =
                "Its container is gone without a trace: the machine, its disk or the container's supervisor failed."
        }
    }

    /// Whether a container was taken from the job, rather than ending by itself: the recovery rule applies, not retries.
    ///
    /// A kill signal that neither the program nor the kernel's memory limit explains comes from outside.
    package static func isLoss(_ exit: ContainerExit) -> Bool {
        switch exit {
        case .fenced, .lost, .signalled(number: 9, isOutOfMemory: false): true
        case .exited, .signalled, .notStarted: false
        }
    }

    /// The name of a Linux signal (signal(7)): `SIGKILL`, `SIGRTMIN+3`; numbers without a name are printed as they are.
    package static func name(ofSignal number: Int32) -> String {
        if let name = names[number] { return "SIG\(name)" }
        return (34...64).contains(number) ? "SIGRTMIN+\(number - 34)" : "signal \(number)"
    }

    // Linux numbers for x86-64 and arm64.
    private static let names: [Int32: String] = [
        1: "HUP", 2: "INT", 3: "QUIT", 4: "ILL", 5: "TRAP", 6: "ABRT", 7: "BUS", 8: "FPE", 9: "KILL", 10: "USR1",
        11: "SEGV", 12: "USR2", 13: "PIPE", 14: "ALRM", 15: "TERM", 16: "STKFLT", 17: "CHLD", 18: "CONT", 19: "STOP",
        20: "TSTP", 21: "TTIN", 22: "TTOU", 23: "URG", 24: "XCPU", 25: "XFSZ", 26: "VTALRM", 27: "PROF", 28: "WINCH",
        29: "IO", 30: "PWR", 31: "SYS",
    ]

    private static func meaning(ofSignal number: Int32) -> String {
        switch number {
        case 4: ": it ran an instruction that this CPU does not have; build it for this CPU"
        case 6: ": it gave up by itself (abort); its own messages say why, see `godwit job logs`"
        case 7, 11: ": it used memory it does not own, a fault of the program; see `godwit job logs`"
        case 8: ": it divided by zero or overflowed, a fault of the program"
        case 9: ": somebody outside the job killed it"
        case 15: ": somebody outside the job asked it to end"
        case 24: ": it used up an rlimit for CPU time"
        case 25: ": it wrote a file larger than its rlimit"
        case 31: ": it used a system call that the container may not use"
        default: ""
        }
    }

    /// The conventions of shells and of sysexits.h; every other code has the program's own meaning.
    private static func meaning(ofExitCode code: Int32) -> String {
        switch code {
        case 125: ": the container runtime could not run it"
        case 126: ": the command is there but cannot be executed; check its permissions and its `#!` line"
        case 127: ": the command was not found; check `command` and the image's PATH"
        case 129...192: ": a process in it was ended by \(name(ofSignal: code - 128))"
        default: "; its own messages say why, see `godwit job logs`"
        }
    }
}
