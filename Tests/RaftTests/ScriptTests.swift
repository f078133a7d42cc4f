import Foundation
import Raft
import Testing

/// The data-driven scripts of etcd-io/raft (Apache License 2.0), unchanged: `Scripts/quorum` and `Scripts/confchange`.
struct ScriptTests {
    /// One command with its input and the output that is expected.
    private struct Case {
        var command: String
        var arguments: [String: [String]]
        var input: String
        var expected: String
        var line: Int
    }

    private static let folder = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Scripts")

    private static func cases(of path: String) throws -> [Case] {
        let text = try String(contentsOf: folder.appending(path: path), encoding: .utf8)
        var lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)[...]
        var found: [Case] = []
        while let line = lines.popFirst() {
            guard !line.isEmpty, !line.hasPrefix("#") else { continue }
            let number = lines.startIndex
            var input: [String] = []
            while let next = lines.popFirst(), next != "----" { input.append(next) }
            var output: [String] = []
            while let next = lines.first, !next.isEmpty {
                output.append(next)
                lines.removeFirst()
            }
            let words = line.split(separator: " ", maxSplits: 1)
            var arguments: [String: [String]] = [:]
            let rest = words.count > 1 ? String(words[1]) : ""
            for match in rest.matches(of: /(\w+)=(?:\(([^)]*)\)|(\w+))/) {
                let values = match.2.map { $0.split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) } }
                arguments[String(match.1)] = values ?? [String(match.3 ?? "")]
            }
            found.append(
                Case(
                    command: String(words[0]),
                    arguments: arguments,
                    input: input.joined(separator: " "),
                    expected: output.joined(separator: "\n"),
                    line: number
                )
            )
        }
        return found
    }

    private static func ids(_ texts: [String]?) -> [RaftMemberID] {
        (texts ?? []).compactMap { UInt64($0) }.map { RaftMemberID(rawValue: $0) }
    }

    // MARK: Quorums

    @Test(arguments: [
        "quorum/majority_commit.txt", "quorum/majority_vote.txt", "quorum/joint_commit.txt", "quorum/joint_vote.txt",
    ])
    func `Majorities and joint quorums agree with the public scripts`(path: String) throws {
        let cases = try Self.cases(of: path)
        #expect(cases.count > 15)
        for test in cases {
            let incoming = Self.ids(test.arguments["cfg"])
            let outgoing = test.arguments["cfgj"].map { $0 == ["zero"] ? [] : Self.ids($0) }
            var all: [RaftMemberID] = []
            for id in incoming + (outgoing ?? []) where !all.contains(id) { all.append(id) }
            let output: String
            if test.command == "vote" {
                var votes: [RaftMemberID: Bool] = [:]
                for (id, vote) in zip(all, test.arguments["votes"] ?? []) where vote != "_" { votes[id] = vote == "y" }
                let results = [incoming, outgoing ?? []].map { voters in Quorum.result(of: voters) { votes[$0] } }
                let result: VoteResult =
                    results.contains(.lost) ? .lost : results.contains(.pending) ? .pending : .won
                output = ["Vote" + "\(result)".prefix(1).uppercased() + "\(result)".dropFirst()].joined()
            } else {
                var indexes: [RaftMemberID: UInt64] = [:]
                for (id, index) in zip(all, test.arguments["idx"] ?? []) where index != "_" {
                    indexes[id] = UInt64(index)
                }
                let agreed = [incoming, outgoing ?? []].compactMap { voters in
                    Quorum.agreed(by: voters) { indexes[$0] ?? 0 }
                }
                output = Self.diagram(all, indexes) + (agreed.min().map { "\($0)" } ?? "∞")
            }
            #expect(output == test.expected, "\(path):\(test.line)")
        }
    }

    private static func diagram(_ ids: [RaftMemberID], _ indexes: [RaftMemberID: UInt64]) -> String {
        guard !ids.isEmpty else { return "<empty majority quorum>" }
        let values = ids.map { indexes[$0] ?? 0 }
        var text = String(repeating: " ", count: ids.count) + "    idx\n"
        for id in ids.sorted() {
            let value = indexes[id] ?? 0
            let bar = values.count { $0 < value }
            let mark =
                indexes[id] == nil
                ? "?" + String(repeating: " ", count: ids.count)
                : String(repeating: "x", count: bar) + ">" + String(repeating: " ", count: ids.count - bar)
            let number = String(repeating: " ", count: max(0, 5 - "\(value)".count)) + "\(value)"
            text += "\(mark) \(number)    (id=\(id.rawValue))\n"
        }
        return text
    }

    // MARK: Changes of the membership

    @Test(arguments: [
        "joint_autoleave", "joint_idempotency", "joint_learners_next", "joint_safety", "simple_idempotency",
        "simple_promote_demote", "simple_safety", "update", "zero",
    ])
    func `Changes of the membership agree with the public scripts`(name: String) throws {
        let cases = try Self.cases(of: "confchange/\(name).txt")
        #expect(!cases.isEmpty)
        var membership = Membership()
        // The scripts show when each member came, as the next entry that it would be sent.
        var next: [RaftMemberID: Int] = [:]
        for (number, test) in cases.enumerated() {
            let steps = test.input.split(separator: " ").compactMap { word -> MembershipChange.Step? in
                let id = RaftMemberID(rawValue: UInt64(word.dropFirst()) ?? 0)
                switch word.first {
                case "v": return .voter(id)
                case "l": return .learner(id)
                case "r": return .remove(id)
                default: return nil
                }
            }
            do throws(MembershipError) {
                switch test.command {
                case "simple": membership = try membership.changingOneVoter(steps)
                case "enter-joint":
                    membership = try membership.enteringJoint(
                        steps,
                        leavesAutomatically: test.arguments["autoleave"] == ["true"]
                    )
                default: membership = try membership.leavingJoint()
                }
                next = next.filter { membership.contains($0.key) }
                for id in membership.members where next[id] == nil { next[id] = max(number, 1) }
                #expect(Self.describe(membership, next) == test.expected, "\(name):\(test.line)")
            } catch {
                #expect(Self.words(for: error, test.command) == test.expected, "\(name):\(test.line)")
            }
        }
    }

    private static func describe(_ membership: Membership, _ next: [RaftMemberID: Int]) -> String {
        func list(_ ids: [RaftMemberID]) -> String { "(" + ids.map { "\($0.rawValue)" }.joined(separator: " ") + ")" }
        var text = "voters=" + list(membership.voters)
        if membership.isJoint { text += "&&" + list(membership.outgoingVoters) }
        if !membership.learners.isEmpty { text += " learners=" + list(membership.learners) }
        if !membership.nextLearners.isEmpty { text += " learners_next=" + list(membership.nextLearners) }
        if membership.leavesAutomatically { text += " autoleave" }
        for id in membership.members {
            text += "\n\(id.rawValue): StateProbe match=0 next=\(next[id] ?? 0)"
            if membership.learners.contains(id) { text += " learner" }
        }
        return text
    }

    private static func words(for error: MembershipError, _ command: String) -> String {
        switch (error, command) {
        case (.alreadyJoint, "simple"): "can't apply simple config change in joint config"
        case (.alreadyJoint, _): "config is already joint"
        case (.notJoint, _): "can't leave a non-joint config"
        case (.manyVoters, _): "more than one voter changed without entering joint config"
        case (.noVoters, "simple"): "removed all voters"
        case (.noVoters, _): "can't make a zero-voter config joint"
        default: error.description
        }
    }
}
