import ControlMessages
import SwiftProtobuf
import Testing

@testable import godwit

/// Authorities, delegates, and nodes that go for good.
struct TrustTests {
    @Test func anAuthorityIsHandedOverWithoutAnythingElse() async throws {
        let folder = try TemporaryFolder()
        let file = "\(folder.path)/ca.crt"
        _ = await execute("ca", "init", "--cluster", "lab", "--folder", folder.path)
        let agent = ScriptedAgent().answer(
            WireAuthorityAddReply.with {
                ($0.authority.subject, $0.authority.site) = ("CN=lab certificate authority,O=lab", "tundra")
            }
        )
        let run = await execute("ca", "trust", "add", file, "--site", "tundra", agent: agent)
        #expect(run.output == "CN=lab certificate authority,O=lab is trusted from now on for nodes of site tundra\n")
        let request = try #require(agent.requests(WireAuthorityAddRequest.self).first)
        #expect(try request.pem == folder.read("ca.crt") && request.site == "tundra")
        // A file with a key is no reason to send the key.
        let identity = "\(folder.path)/n.pem"
        _ = await execute("ca", "issue", "--user", "bob", "--folder", folder.path, "--out", identity)
        let other = ScriptedAgent()
        _ = await execute("ca", "trust", "add", identity, agent: other)
        #expect(try other.requests(WireAuthorityAddRequest.self).map(\.pem) == [folder.read("ca.crt")])
    }

    @Test func authoritiesAreListedAndRemoved() async throws {
        let list = WireAuthorityListReply.with {
            $0.authorities = [
                .with {
                    ($0.fingerprint, $0.subject) = (
                        String(repeating: "ab", count: 32), "CN=lab certificate authority,O=lab"
                    )
                    ($0.isInFile, $0.expiresUnixSeconds, $0.nodes) = (true, noon + 86_400 * 3000, ["knot", "stint"])
                },
                .with {
                    ($0.fingerprint, $0.subject) = (
                        String(repeating: "cd", count: 32), "CN=lab certificate authority,O=lab"
                    )
                    ($0.isReplicated, $0.by, $0.site) = (true, "ada", "tundra")
                    ($0.expiresUnixSeconds, $0.nodes) = (noon + 86_400 * 300, ["plover"])
                },
            ]
        }
        let shown = await execute("ca", "trust", "list", agent: ScriptedAgent().answer(list))
        try expectGolden(shown.output, "ca-trust-list.txt")
        let agent = ScriptedAgent().answer(WireAuthorityRemoveReply.with { $0.authority = list.authorities[1] })
        let removed = await execute("ca", "trust", "remove", "cdcdcdcd", "--force", agent: agent)
        #expect(removed.output == "CN=lab certificate authority,O=lab is not trusted any more; shut out: plover\n")
        #expect(agent.requests(WireAuthorityRemoveRequest.self).map(\.fingerprint) == ["cdcdcdcd"])
        #expect(agent.requests(WireAuthorityRemoveRequest.self).map(\.force) == [true])
    }

    @Test func aDelegateIssuesForNodesAndItsIdentitiesTrustOthersToo() async throws {
        let folder = try TemporaryFolder()
        let folders = try (0..<3).map { _ in try TemporaryFolder() }
        let (root, issuer, second) = (folders[0].path, folders[1].path, folders[2].path)
        _ = await execute("ca", "init", "--cluster", "lab", "--folder", root)
        let made = await execute("ca", "delegate", "--site", "tundra", "--out", issuer, "--folder", root)
        #expect(made.status == .success, "\(made.diagnostics)")
        let shown = await execute("ca", "show", "\(issuer)/ca.crt").output
        #expect(shown.contains("delegate") && shown.contains("site         tundra"), "\(shown)")
        let node = await execute(
            "ca",
            "issue",
            "--node",
            "plover",
            "--site",
            "tundra",
            "--folder",
            issuer,
            "--out",
            "\(folder.path)/p.pem"
        )
        #expect(node.status == .success, "\(node.diagnostics)")
        let other = await execute(
            "ca",
            "issue",
            "--node",
            "plover",
            "--site",
            "coast",
            "--folder",
            issuer,
            "--out",
            "\(folder.path)/q.pem"
        )
        #expect(other.status == .failure && other.diagnostics.contains("cannot issue for"))
        _ = await execute("ca", "init", "--cluster", "lab", "--folder", second)
        _ = await execute(
            "ca",
            "issue",
            "--user",
            "bob",
            "--trust",
            "\(root)/ca.crt",
            "--folder",
            second,
            "--out",
            "\(folder.path)/b.pem"
        )
        #expect(try folder.read("b.pem").split(separator: "-----BEGIN CERTIFICATE-----").count == 4)
    }

    @Test func nodesGoForGood() async throws {
        let agent = ScriptedAgent().answer(WireNodeRemoveReply.with { $0.revoked = true })
        let removed = await execute("node", "remove", "ruff", "--revoke", "--force", agent: agent)
        #expect(removed.output == "ruff is no node of the cluster any more, and its certificates are refused\n")
        let request = try #require(agent.requests(WireNodeRemoveRequest.self).first)
        #expect(request.node == "ruff" && request.revoke && request.abandonCheckpoints)
        let kept = await execute("node", "remove", "ruff")
        #expect(kept.output == "ruff is no node of the cluster any more; its certificate is still good\n")
        let leaving = ScriptedAgent()
        let left = await execute("node", "leave", "stint", agent: leaving)
        #expect(left.output == "stint has left the cluster, and its agent ends\n")
        #expect(leaving.requests(WireNodeLeaveRequest.self).map(\.node) == ["stint"])
    }
}
