import ControlMessages
import SwiftProtobuf

/// A cluster of five nodes on two sites, in good and in bad days.
extension Scene {
    /// All is well: three voters, two learners.
    static var health: WireClusterHealth {
        .with {
            $0.answeredBy = "dunlin"
            $0.voterCount = 3
            $0.votersAnswering = 3
            $0.learnerCount = 2
            $0.nodesAlive = 5
            $0.leaderSinceUnixSeconds = noon - 7200
            $0.partitionTimeoutSeconds = 30
        }
    }

    static func status(_ change: (inout WireStatusReply) -> Void) -> WireStatusReply {
        var reply = status
        reply.leader = "knot"
        reply.term = 7
        reply.nodeCount = 5
        reply.jobsAtRisk = 0
        reply.problems = []
        reply.health = health
        change(&reply)
        return reply
    }

    /// Two voters of three do not answer.
    static var withoutQuorum: WireStatusReply {
        status {
            $0.leader = ""
            $0.health.votersAnswering = 1
            $0.health.silentVoters = ["knot", "ruff"]
            $0.health.leaderSinceUnixSeconds = 0
            $0.health.leaderlessSeconds = 12
            $0.health.nodesAlive = 3
            $0.health.suspectNodes = ["knot", "ruff"]
        }
    }

    /// One node is lost, one suspected, one drained, a certificate is old.
    static var degraded: WireStatusReply {
        status {
            $0.health.votersAnswering = 2
            $0.health.silentVoters = ["ruff"]
            $0.health.nodesAlive = 2
            $0.health.lostNodes = ["ruff"]
            $0.health.suspectNodes = ["plover"]
            $0.health.drainingNodes = ["stint"]
            $0.health.expiringCertificates = [
                .with { ($0.node, $0.notAfterUnixSeconds) = ("stint", noon + 86_400 * 90) }
            ]
            $0.jobsAtRisk = 2
            $0.problems = ["Job 'linpack' is expected to miss its deadline; `godwit job explain linpack` says why."]
        }
    }

    static func member(
        _ node: String,
        _ state: String,
        _ change: (inout WireClusterMember) -> Void = { _ in }
    ) -> WireClusterMember {
        .with {
            $0.node = node
            $0.site = "coast"
            $0.role = "worker"
            $0.address = "\(node).coast:7420"
            $0.state = state
            $0.gossip = "alive"
            $0.consensus = "voter"
            $0.lastHeardSeconds = 0.4
            $0.version = "1.0.0"
            $0.incarnation = 3
            $0.member = 0xabc0 + UInt64(node.utf8.count)
            change(&$0)
        }
    }

    static var members: WireClusterMembersReply {
        .with {
            $0.answeredBy = "dunlin"
            $0.members = [
                member("dunlin", "active") { $0.lastHeardSeconds = 0 },
                member("knot", "active") {
                    $0.consensus = "leader"
                    $0.role = "gateway"
                },
                member("plover", "active") {
                    $0.gossip = "suspect"
                    $0.lastHeardSeconds = 4.2
                    $0.site = "tundra"
                    $0.consensus = "learner"
                },
                member("ruff", "lost") {
                    $0.gossip = "dead"
                    $0.lastHeardSeconds = 95
                },
                member("stint", "active") {
                    $0.isDraining = true
                    $0.isCordoned = true
                    $0.consensus = "learner"
                },
                member("whimbrel", "joining") {
                    $0.gossip = ""
                    $0.consensus = ""
                    $0.lastHeardSeconds = -1
                    $0.incarnation = 0
                },
            ]
        }
    }

    static var voters: WireClusterVotersReply {
        .with {
            $0.answeredBy = "knot"
            $0.leader = "knot"
            $0.term = 7
            $0.leaderSinceUnixSeconds = noon - 7200
            $0.commitIndex = 4210
            $0.appliedIndex = 4209
            $0.members = [
                .with {
                    ($0.member, $0.node, $0.site, $0.role, $0.matchIndex) = (0xabc4, "knot", "coast", "leader", 4210)
                },
                .with {
                    ($0.member, $0.node, $0.site, $0.role, $0.matchIndex) = (0xabc6, "dunlin", "coast", "voter", 4210)
                    $0.lastContactSeconds = 0.05
                },
                .with {
                    ($0.member, $0.node, $0.site, $0.role, $0.matchIndex) = (0xabc5, "ruff", "coast", "voter", 4100)
                    ($0.lastContactSeconds, $0.isLeaving) = (95, true)
                },
                .with {
                    ($0.member, $0.node, $0.site, $0.role) = (0xabc7, "plover", "tundra", "learner")
                    $0.lastContactSeconds = -1
                },
            ]
        }
    }

    static func event(
        _ seconds: Double,
        _ source: String,
        _ kind: String,
        _ node: String,
        _ sentence: String,
        by: String = ""
    ) -> WireClusterEvent {
        .with {
            $0.timeUnixSeconds = noon + seconds
            ($0.source, $0.kind, $0.node, $0.sentence, $0.by) = (source, kind, node, sentence, by)
        }
    }

    static var events: [WireClusterEvent] {
        [
            event(-86_400, "audit", "join", "stint", "stint joined site coast as a worker.", by: "stint"),
            event(1, "consensus", "leader", "knot", "knot leads in term 7."),
            event(2, "membership", "suspect", "ruff", "ruff does not answer.", by: "dunlin"),
            event(3, "audit", "drain", "stint", "ada drained stint.", by: "ada"),
            event(33, "audit", "lost", "ruff", "ruff was not heard for 35 s: its 2 jobs are queued anew.", by: "knot"),
        ]
    }

    static var keyring: WireKeyringListReply {
        .with {
            $0.nodeCount = 5
            $0.keys = [
                .with { ($0.id, $0.isPrimary, $0.createdUnixSeconds, $0.nodeCount) = (8, true, noon, 4) },
                .with { ($0.id, $0.createdUnixSeconds, $0.nodeCount) = (7, noon - 86_400 * 30, 5) },
            ]
        }
    }

    static var revocations: WireRevocationListReply {
        .with {
            $0.revocations = [
                .with {
                    ($0.serial, $0.by, $0.timeUnixSeconds) = ("4f0011223344556677889900aabbccdd", "ada", noon - 86_400)
                },
                .with {
                    ($0.identity, $0.by, $0.timeUnixSeconds) = ("spiffe://lab/user/bob", "ada", noon)
                    $0.reason = "left the group"
                },
            ]
        }
    }

    static var nodes: [WireNode] {
        var second = node
        (second.name, second.state, second.usedVcpus, second.allocatedVcpus) = ("stint", "draining", 3.9, 4)
        (second.gpus, second.runningJobs) = ([], 1)
        var third = node
        (third.name, third.state, third.usedVcpus, third.allocatedVcpus) = ("ruff", "lost", 0, 0)
        (third.gpus, third.runningJobs, third.memoryUsedBytes) = ([], 0, 0)
        return [node, second, third]
    }
}
