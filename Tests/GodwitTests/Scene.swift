import ClusterModel
import ControlMessages
import SwiftProtobuf

/// The cluster that tests look at: one deadline job that was checkpointed, killed and restored, beside others.
enum Scene {
    /// A LINPACK solve of 60 CPU seconds within 90 s, submitted at noon.
    static var linpack: WireJobSummary {
        .with {
            $0.id = "k3vq7m2xw5ab"
            $0.name = "linpack"
            $0.kind = "batch"
            $0.state = "running"
            $0.node = "node-1"
            $0.policy = "deadline"
            $0.submittedUnixSeconds = noon
            $0.startedUnixSeconds = noon + 0.3
            $0.deadlineUnixSeconds = noon + 90
            $0.predictedEndUnixSeconds = noon + 81
            $0.slackSeconds = 9
            $0.progress = 0.62
            $0.consumedCpuSeconds = 37.2
            $0.desiredCpuSeconds = 33.3
            $0.allocationVcpus = 1.5
            $0.usageVcpus = 1.48
            $0.memoryBytes = 536_870_912
            $0.condition = "ontime"
            $0.message = "Runs on from checkpoint 1."
            $0.incarnation = 2
            $0.user = "alice"
            $0.checkpointCount = 1
        }
    }

    /// An iterative job that will be late.
    static var render: WireJobSummary {
        .with {
            $0.id = "zz2vq7m2xw5c"
            $0.name = "render-frames-of-the-long-film"
            $0.kind = "iterative"
            $0.state = "running"
            $0.node = "node-1"
            $0.policy = "deadline"
            $0.submittedUnixSeconds = noon - 3600
            $0.startedUnixSeconds = noon - 3590
            $0.deadlineUnixSeconds = noon + 600
            $0.predictedEndUnixSeconds = noon + 725
            $0.slackSeconds = -125
            $0.progress = 0.7
            $0.consumedCpuSeconds = 5231
            $0.desiredCpuSeconds = 6100
            $0.allocationVcpus = 2
            $0.usageVcpus = 1.97
            $0.memoryBytes = 3_221_225_472
            $0.condition = "atrisk"
            $0.completedIterations = 7
            $0.totalIterations = 10
            $0.incarnation = 8
            $0.user = "bob"
        }
    }

    /// A best-effort job that waits, with a reason that tries to control the terminal.
    static var waiting: WireJobSummary {
        .with {
            $0.id = "aaa2q7m2xw5d"
            $0.name = "spare"
            $0.kind = "batch"
            $0.state = "queued"
            $0.submittedUnixSeconds = noon + 40
            $0.progress = -1
            $0.message = "Waits for \u{1B}[31m1 GiB\u{1B}[0m of memory; the node has 200 MiB left."
            $0.user = "bob"
        }
    }

    /// One that failed the day before.
    static var failed: WireJobSummary {
        .with {
            $0.id = "fff2q7m2xw5e"
            $0.name = "train"
            $0.kind = "batch"
            $0.state = "failed"
            $0.submittedUnixSeconds = noon - 86_400
            $0.startedUnixSeconds = noon - 86_398
            $0.endedUnixSeconds = noon - 80_000
            $0.progress = -1
            $0.consumedCpuSeconds = 6300
            $0.message = "Used more than its 2 GiB of memory and was killed; raise resources.memory."
            $0.user = "bob"
            $0.retries = 3
        }
    }

    static func decision(
        _ sequence: UInt64,
        _ seconds: Double,
        _ kind: Decision.Kind,
        _ sentence: String,
        _ numbers: [String: Double] = [:]
    ) -> WireDecision {
        .with {
            $0.sequence = sequence
            $0.timeUnixSeconds = noon + seconds
            $0.jobID = linpack.id
            $0.jobName = linpack.name
            $0.kind = kind.rawValue
            $0.sentence = sentence
            $0.numbers = numbers
        }
    }

    /// The life of the LINPACK solve until it is done at 80 s.
    static var decisions: [WireDecision] {
        var all = [
            decision(1, 0, .admitted, "60 s of CPU time fit into 90 s: it needs 0.67 vCPUs, 2.00 are free."),
            decision(2, 0.3, .started, "Started 0.30 s after its submission.", ["startSeconds": 0.3]),
            decision(
                3,
                6.1,
                .resized,
                "Raised from 0.67 to 0.90 vCPUs: two neighbours take what is idle, and it was 0.80 s behind its plan.",
                ["allocationVCPUs": 0.9]
            ),
        ]
        for step in 0..<5 {
            let vcpus = 0.92 + Double(step) * 0.02
            all.append(
                decision(
                    4 + UInt64(step),
                    10 + Double(step) * 2,
                    .resized,
                    "Raised to \(vcpus.text(decimals: 2)) vCPUs: it was behind its plan.",
                    ["allocationVCPUs": vcpus]
                )
            )
        }
        all += [
            decision(
                9,
                25,
                .checkpointed,
                "Checkpoint 1 was taken: frozen for 0.31 s, 512 MiB stored as 190 MiB.",
                ["frozenSeconds": 0.31, "totalSeconds": 1.9]
            ),
            decision(
                10,
                40,
                .restarted,
                "Its container was killed by signal 9. It goes on from checkpoint 1.",
                ["generation": 1]
            ),
            decision(
                11,
                41.2,
                .restored,
                "Restored from checkpoint 1 in 0.40 s; it goes on with 22 s of CPU time done.",
                ["startSeconds": 0.4, "generation": 1]
            ),
            decision(
                12,
                41.3,
                .deadlineAtRisk,
                "With 0.97 vCPUs it would end 3.0 s after its deadline.",
                ["slackSeconds": -3]
            ),
            decision(
                13,
                41.4,
                .resized,
                "Raised from 0.97 to 1.50 vCPUs, so that it ends 9.0 s before its deadline.",
                ["allocationVCPUs": 1.5]
            ),
            decision(14, 42, .deadlineSafe, "The deadline can be kept again.", ["slackSeconds": 9]),
        ]
        return all
    }

    /// Its samples, one a second, with the step back at the restore.
    static func samples(until end: Int) -> [WireSample] {
        var consumed = 0.0
        return (0...end).map { second in
            let allocation: Double =
                switch second {
                case ..<6: 0.67
                case ..<20: 0.9 + Double(max(0, second - 10)) * 0.01
                case ..<41: 1.0
                default: 1.5
                }
            let isGone = second == 40 || second == 41
            // A little unevenness, the same in every run.
            let usage = isGone ? 0 : allocation + 0.06 * Double((second * 7) % 5 - 2)
            consumed += usage
            if second == 41 { consumed = 22 }
            return .with {
                $0.timeUnixSeconds = noon + Double(second)
                $0.consumedCpuSeconds = min(60, consumed)
                $0.desiredCpuSeconds = min(60, Double(second) * 60 / 90)
                $0.allocationVcpus = isGone ? 0 : allocation
                $0.usageVcpus = usage
                $0.memoryBytes = 536_870_912
            }
        }
    }

    static var checkpoint: WireCheckpoint {
        .with {
            $0.generation = 1
            $0.takenUnixSeconds = noon + 25
            $0.frozenSeconds = 0.31
            $0.totalSeconds = 1.9
            $0.rawBytes = 536_870_912
            $0.storedBytes = 199_229_440
            $0.cpuSeconds = 22
            $0.state = "complete"
            $0.node = "node-1"
        }
    }

    static var explanation: WireJobExplainReply {
        .with {
            $0.job = linpack
            $0.decisions = decisions
            $0.samples = samples(until: 50)
        }
    }

    /// The same job after its end.
    static var finished: WireJobExplainReply {
        .with {
            $0.job = linpack
            $0.job.state = "completed"
            $0.job.endedUnixSeconds = noon + 67
            $0.job.predictedEndUnixSeconds = noon + 67
            $0.job.slackSeconds = 23
            $0.job.progress = 1
            $0.job.consumedCpuSeconds = 60
            $0.job.condition = "met"
            $0.job.message = "Completed after 1 min 7 s with 1 min of CPU time."
            $0.decisions =
                decisions + [
                    decision(15, 66.6, .deadlineMet, "All 1 min of CPU time were granted 23 s before the deadline."),
                    decision(16, 67, .completed, "Completed after 1 min 7 s with 1 min of CPU time."),
                ]
            $0.samples = samples(until: 67)
        }
    }

    static var shown: WireJobShowReply {
        .with {
            $0.job = linpack
            $0.specificationJson = #"{"name":"linpack"}"#
            $0.checkpoints = [checkpoint]
            $0.recentDecisions = Array(decisions.suffix(4))
            $0.cpuPressure = 0.12
            $0.throttledSeconds = 0
            $0.memoryLimitBytes = 1_073_741_824
            $0.memoryPeakBytes = 600_000_000
            $0.admission = .with {
                $0.verdict = .feasible
                $0.reason = "60 s of CPU time fit into 90 s: it needs 0.67 vCPUs, 2.00 are free."
            }
        }
    }

    static var node: WireNode {
        .with {
            $0.name = "node-1"
            $0.site = "home"
            $0.role = "worker"
            $0.state = "alive"
            $0.version = "1.0.0"
            $0.capacityVcpus = 4
            $0.allocatedVcpus = 3.5
            $0.usedVcpus = 3.45
            $0.memoryBytes = 16_777_216_000
            $0.memoryUsedBytes = 4_300_000_000
            $0.runningJobs = 2
            $0.uptimeSeconds = 93_784
            $0.kernel = "6.1.0"
            $0.gpus = [
                .with {
                    $0.index = 0
                    $0.uuid = "GPU-5f1c"
                    $0.name = "Accelerator 80GB"
                    $0.utilization = 0.42
                    $0.memoryBytes = 85_899_345_920
                    $0.memoryUsedBytes = 1_073_741_824
                    $0.temperatureCelsius = 41
                    $0.powerWatts = 118
                }
            ]
            $0.capabilities = [
                .with {
                    $0.name = "criu"
                    $0.isPresent = true
                    $0.detail = "4.2"
                },
                .with {
                    $0.name = "criu.lazyPages"
                    $0.detail = "CRIU cannot use userfaultfd"
                    $0.cost = "A container runs again only when all of its memory has arrived."
                    $0.remedy = "Boot a kernel with CONFIG_USERFAULTFD=y and let the agent use it."
                },
            ]
        }
    }

    static var status: WireStatusReply {
        .with {
            $0.cluster = "lab"
            $0.agentVersion = "1.0.0"
            $0.leader = "node-1"
            $0.term = 1
            $0.nodeCount = 1
            $0.jobsRunning = 2
            $0.jobsQueued = 1
            $0.jobsAtRisk = 1
            $0.jobsEnded = 12
            $0.capacityVcpus = 4
            $0.allocatedVcpus = 3.5
            $0.uptimeSeconds = 93_784
            $0.problems = ["The state folder has 200 MiB left: free space, or move it with state.folder."]
        }
    }

    static func watch(
        _ seconds: Double,
        _ change: (inout WireJobSummary) -> Void,
        _ decisions: [WireDecision] = []
    ) -> WireJobWatchReply {
        .with {
            $0.timeUnixSeconds = noon + seconds
            var job = linpack
            change(&job)
            $0.jobs = [job]
            $0.decisions = decisions
        }
    }
}
