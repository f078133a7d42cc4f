import ArgumentParser
import ClusterModel
import TLS

/// `godwit ca`.
struct AuthorityGroup: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ca",
        abstract: "Make the certificates of nodes and users, and revoke them.",
        discussion: """
            init, delegate, issue, renew and show work on files of this machine and ask no agent. revoke, revocations and trust ask the \
            cluster.
            """,
        subcommands: [
            AuthorityInit.self, AuthorityDelegate.self, AuthorityIssue.self, AuthorityRenew.self, AuthorityShow.self,
            AuthorityRevoke.self, AuthorityRevocations.self, TrustGroup.self,
        ]
    )
}

/// Where the authority is.
struct AuthorityFolder: ParsableArguments {
    @Option(
        help: ArgumentHelp("The folder of ca.crt and ca.key. Default: ~/.config/godwit/ca.", valueName: "folder"),
        completion: .directory
    )
    var folder: String?

    /// The folder's path.
    func path(in surroundings: Surroundings) throws -> String { try folder ?? userFolder(in: surroundings) + "/ca" }
}

/// Where the user's own credentials are: `~/.config/godwit`.
func userFolder(in surroundings: Surroundings) throws -> String {
    if let base = surroundings.environment("XDG_CONFIG_HOME"), base.hasPrefix("/") { return base + "/godwit" }
    guard let home = surroundings.environment("HOME"), !home.isEmpty else {
        throw CommandFailure(.usage, "HOME is not set, so there is no default place; name the file or folder")
    }
    return home + "/.config/godwit"
}

/// Turns the library's errors into the program's.
func reporting<Result>(_ body: () throws -> Result) throws -> Result {
    do { return try body() } catch let error as TLSError { throw CommandFailure(.failure, error.message) }
}

/// `godwit ca init`.
struct AuthorityInit: GodwitCommand {
    static let configuration = CommandConfiguration.ofCommand(
        commandName: "init",
        abstract: "Make a cluster's certificate authority.",
        discussion: "ca.key is needed only to issue certificates: keep it off the nodes. It is never overwritten."
    )

    @Option(help: ArgumentHelp("The cluster's name: a to z, 0 to 9 and -.", valueName: "name"))
    var cluster: String

    @OptionGroup var place: AuthorityFolder
    @OptionGroup(title: "Global options") var options: OutputOptions

    func run(in surroundings: Surroundings) async throws -> ExitStatus {
        let folder = try place.path(in: surroundings)
        let now = Timestamp(seconds: surroundings.now())
        let authority = try reporting {
            let authority = try CertificateAuthority.create(cluster: ClusterID(rawValue: cluster), now: now)
            try authority.save(to: folder)
            return authority
        }
        let facts = try CertificateFacts(authority.certificate, file: "\(folder)/ca.crt")
        try facts.print(options, in: surroundings)
        return .success
    }
}

/// `godwit ca issue`.
struct AuthorityIssue: GodwitCommand {
    static let configuration = CommandConfiguration.ofCommand(
        commandName: "issue",
        abstract: "Issue the identity of a node or a user.",
        discussion: """
            The result is one file with key, certificate and authority, readable by its owner only. Copy it to the node as its \
            identity, or give it to the user as ~/.config/godwit/identity.pem.
            """
    )

    @Option(help: ArgumentHelp("Issue for this node.", valueName: "name"))
    var node: String?

    @Option(help: ArgumentHelp("The node's site.", valueName: "name"))
    var site: String?

    @Option(help: ArgumentHelp("What the node is for: worker or gateway. Default: worker.", valueName: "role"))
    var role: RoleArgument?

    @Option(help: ArgumentHelp("Issue for this user.", valueName: "name"))
    var user: String?

    @Option(
        help: ArgumentHelp(
            "What the user may do: admin, submit (and act on jobs) or read. Default: read.",
            valueName: "right"
        )
    )
    var right: RightArgument?

    @Option(help: ArgumentHelp("How long it is valid. Default: 365d.", valueName: "duration"), transform: parseDuration)
    var lifetime: Duration?

    @Option(
        help: ArgumentHelp("Write to this file. Default: NAME.pem in this folder.", valueName: "file"),
        completion: .file()
    )
    var out: String?

    @Option(
        help: ArgumentHelp("Let it trust the authorities in this file as well; may be repeated.", valueName: "ca.crt"),
        completion: .file(extensions: ["crt", "pem"])
    )
    var trust: [String] = []

    @OptionGroup var place: AuthorityFolder
    @OptionGroup(title: "Global options") var options: OutputOptions

    func validate() throws {
        switch (node, user) {
        case (nil, nil): throw ValidationError("Name whom it is for: --node with --site, or --user")
        case (_?, _?): throw ValidationError("A certificate is for a node or for a user; give --node or --user")
        case (_?, nil):
            if site == nil { throw ValidationError("A node needs --site") }
            if right != nil { throw ValidationError("--right is for users; a node's right follows from its role") }
        case (nil, _?):
            if site != nil || role != nil { throw ValidationError("--site and --role are for nodes") }
        }
    }

    func run(in surroundings: Surroundings) async throws -> ExitStatus {
        let folder = try place.path(in: surroundings)
        let now = Timestamp(seconds: surroundings.now())
        let file = out ?? "\(node ?? user ?? "identity").pem"
        let bundle = try reporting {
            let authority = try CertificateAuthority.load(from: folder)
            let lifetime = lifetime ?? CertificateAuthority.defaultIssuedLifetime
            let bundle =
                if let node {
                    try authority.issueNode(
                        NodeID(rawValue: node),
                        site: SiteID(rawValue: site ?? ""),
                        role: role?.role ?? .worker,
                        now: now,
                        lifetime: lifetime
                    )
                } else {
                    try authority.issueUser(
                        UserID(rawValue: user ?? ""),
                        right: right?.right ?? .read,
                        now: now,
                        lifetime: lifetime
                    )
                }
            let others = try trust.flatMap { try loadCertificates($0).filter(\.isAuthority) }
            let complete = bundle.trusting(others)
            try complete.save(to: file)
            return complete
        }
        try CertificateFacts(bundle.certificate, file: file).print(options, in: surroundings)
        return .success
    }
}

/// `godwit ca renew`.
struct AuthorityRenew: GodwitCommand {
    static let configuration = CommandConfiguration.ofCommand(
        commandName: "renew",
        abstract: "Issue an identity again before it expires: the same key and names, a new end.",
        discussion: """
            The file is replaced at once; other authorities in it are kept. An agent takes its changed file without a restart: copy it \
            to the node when it was renewed elsewhere. 'godwit status' says which certificates are past half of their life.
            """
    )

    @Argument(
        help: ArgumentHelp("The identity file, as 'ca issue' wrote it.", valueName: "file"),
        completion: .file(extensions: ["pem"])
    )
    var file: String

    @Option(
        help: ArgumentHelp("How long it is valid from now on. Default: as long as before.", valueName: "duration"),
        transform: parseDuration
    )
    var lifetime: Duration?

    @Flag(help: "Make a new key as well, for instance because the old one may have been read.")
    var newKey = false

    @Option(
        help: ArgumentHelp("Write to this new file instead of replacing the old one.", valueName: "file"),
        completion: .file()
    )
    var out: String?

    @OptionGroup var place: AuthorityFolder
    @OptionGroup(title: "Global options") var options: OutputOptions

    func run(in surroundings: Surroundings) async throws -> ExitStatus {
        let folder = try place.path(in: surroundings)
        let now = Timestamp(seconds: surroundings.now())
        let bundle = try reporting {
            let renewed = try CertificateAuthority.load(from: folder).renew(
                IdentityBundle.load(file),
                now: now,
                lifetime: lifetime,
                hasNewKey: newKey
            )
            if let out { try renewed.save(to: out) } else { try renewed.replace(file) }
            return renewed
        }
        try CertificateFacts(bundle.certificate, file: out ?? file).print(options, in: surroundings)
        return .success
    }
}

/// A node's role on the command line.
enum RoleArgument: String, ExpressibleByArgument, CaseIterable {
    case worker, gateway
    var role: NodeRole { self == .worker ? .worker : .gateway }
}

/// A user's right on the command line.
enum RightArgument: String, ExpressibleByArgument, CaseIterable {
    case admin, submit, read
    var right: UserRight {
        switch self {
        case .admin: .admin
        case .submit: .submit
        case .read: .read
        }
    }
}

/// `godwit ca show`.
struct AuthorityShow: GodwitCommand {
    static let configuration = CommandConfiguration.ofCommand(
        commandName: "show",
        abstract: "Show the certificates in a file: whose they are, what they allow, until when."
    )

    @Argument(help: ArgumentHelp("A PEM file.", valueName: "file"), completion: .file(extensions: ["pem", "crt"]))
    var file: String

    @OptionGroup(title: "Global options") var options: OutputOptions

    func run(in surroundings: Surroundings) async throws -> ExitStatus {
        let certificates = try reporting { try loadCertificates(file) }
        for (index, certificate) in certificates.enumerated() {
            if index > 0, options.output == .table { try surroundings.output.send("\n") }
            try CertificateFacts(certificate, file: file).print(options, in: surroundings)
        }
        return .success
    }
}

/// What people want to know of a certificate.
struct CertificateFacts {
    /// Name and value, in the order in which they are shown; names are the keys of the JSON form.
    private var facts: [(key: String, name: String, value: String)]
    private var notAfter: Timestamp

    init(_ certificate: Certificate, file: String) throws {
        var kind = "authority"
        var who: [(key: String, name: String, value: String)] = []
        if certificate.isAuthority {
            who.append(("cluster", "cluster", certificate.authorityCluster?.rawValue ?? ""))
            if let delegation = certificate.delegation {
                kind = "delegate"
                who.append(("site", "site", delegation.site?.rawValue ?? "every site"))
            }
        } else {
            do {
                switch try certificate.identity {
                case .node(let cluster, let site, let node, let role):
                    kind = "node"
                    who = [
                        ("cluster", "cluster", cluster.rawValue), ("site", "site", site.rawValue),
                        ("node", "node", node.rawValue), ("role", "role", role.rawValue),
                    ]
                case .user(let cluster, let user, let right):
                    kind = "user"
                    who = [
                        ("cluster", "cluster", cluster.rawValue), ("user", "user", user.rawValue),
                        ("right", "right", right.rawValue),
                    ]
                }
            } catch {
                // A certificate of somebody else is shown too.
                kind = "other"
            }
        }
        facts = [("file", "file", file), ("kind", "kind", kind)] + who
        facts += [
            ("subject", "subject", certificate.subject), ("issuer", "issuer", certificate.issuer),
            ("notBefore", "valid from", certificate.notBefore.description),
            ("notAfter", "valid until", certificate.notAfter.description),
            ("serial", "serial", certificate.serial), ("fingerprint", "fingerprint", certificate.fingerprint),
        ]
        notAfter = certificate.notAfter
    }

    /// Prints the facts as the user asked for them: a list, or one JSON object of texts on a line.
    func print(_ options: OutputOptions, in surroundings: Surroundings) throws {
        if options.output == .json {
            let pairs = facts.filter { !$0.value.isEmpty }.map { "\(jsonString($0.key)):\(jsonString($0.value))" }
            let line = "{\(pairs.joined(separator: ","))}"
            try surroundings.output.send((surroundings.output.isTerminal ? indentedJSON(line) : line) + "\n")
            return
        }
        let style = options.presentation(on: surroundings.output, in: surroundings)
        var list = FieldList()
        for fact in facts {
            guard fact.key == "notAfter" else {
                list.add(fact.name, fact.value)
                continue
            }
            let isPast = notAfter.seconds <= style.now
            list.add(
                fact.name,
                "\(fact.value) (\(isPast ? "expired " : "")\(style.distance(to: notAfter.seconds)))",
                isPast ? .bad : .plain
            )
        }
        try surroundings.output.send(list.lines(style).joined(separator: "\n") + "\n")
    }
}
