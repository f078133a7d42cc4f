import ClusterModel
import TLS
import Testing

struct PeerIdentityTests {
    @Test func `Nodes and users are read from their names`() throws {
        let node = try PeerIdentity(uri: "spiffe://flock/site/coast/node/knot", organizationalUnit: "gateway")
        #expect(
            node
                == .node(
                    cluster: ClusterID(rawValue: "flock"),
                    site: SiteID(rawValue: "coast"),
                    node: NodeID(rawValue: "knot"),
                    role: .gateway
                )
        )
        #expect(node.uri == "spiffe://flock/site/coast/node/knot")
        #expect(node.right == .admin)
        let user = try PeerIdentity(uri: "spiffe://flock/user/ada", organizationalUnit: "submit")
        #expect(
            user == .user(cluster: ClusterID(rawValue: "flock"), user: UserID(rawValue: "ada"), right: .submit)
        )
        #expect(user.uri == "spiffe://flock/user/ada")
        #expect("\(user)" == "user ada (submit)")
    }

    @Test func `A right includes the ones before it`() {
        #expect(UserRight.read < .submit)
        #expect(UserRight.submit < .admin)
    }

    @Test(arguments: [
        ("https://flock/user/ada", "submit"),
        ("spiffe://flock/user/ada", "worker"),
        ("spiffe://flock/user/ada", ""),
        ("spiffe://flock/site/coast/node/knot", "admin"),
        ("spiffe://flock", "admin"),
        ("spiffe://flock/user", "admin"),
        ("spiffe://flock/user/ada/extra", "admin"),
        ("spiffe://flock//user/ada", "admin"),
        ("spiffe://flock/user/Ada", "admin"),
        ("spiffe://flock/user/-ada", "admin"),
        ("spiffe://flock/user/ada%2f", "admin"),
        ("spiffe:///user/ada", "admin"),
        ("spiffe://flock/role/coast/node/knot", "worker"),
        ("spiffe://flock/site/coast/user/knot", "worker"),
        ("spiffe://flock/site/co\u{0}ast/node/knot", "worker"),
    ])
    func `Anything else is refused with a reason`(uri: String, unit: String) {
        let error = #expect(throws: TLSError.self) { try PeerIdentity(uri: uri, organizationalUnit: unit) }
        #expect(error?.code == .identityInvalid)
        #expect(error?.message.isEmpty == false)
    }

    @Test func `Quoted text is printable and bounded`() {
        #expect(quoted("a\nb\"") == #""a\u{a}b\u{22}""#)
        #expect(quoted(String(repeating: "x", count: 500)).count == 205)
    }
}
