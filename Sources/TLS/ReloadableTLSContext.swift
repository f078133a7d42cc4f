import Glibc
import Synchronization

/// Both ends of an agent's connections, made from its identity file and made anew when that file changes.
///
/// An administrator renews a certificate by replacing the file; the agent calls `reloadIfChanged` now and then. A file that cannot be
/// used changes nothing: the agent goes on with what it has and says so.
package final class ReloadableTLSContext: Sendable {
    /// The identity file.
    package let path: String
    /// Consulted by every handshake of both ends.
    package let revocations: RevocationList
    /// For connections that others make to us.
    package let server: TLSContext
    /// For connections that we make.
    package let client: TLSContext

    private struct State {
        var bundle: IdentityBundle
        var summary: CertificateSummary
        /// Authorities besides those in the file.
        var authorities: [Certificate]
        var stamp: FileStamp?
        var problem: String?
    }
    private let state: Mutex<State>

    /// Reads the file.
    ///
    /// `authorities` are trusted besides those in the file: the replicated trust bundle of several authorities.
    ///
    /// - Throws: `TLSError`.
    package init(
        path: String,
        trusting authorities: [Certificate] = [],
        revocations: RevocationList = RevocationList()
    ) throws {
        // Before the content: a change in between is then seen as one, not missed.
        let stamp = FileStamp(path)
        let bundle = try IdentityBundle.load(path)
        (self.path, self.revocations) = (path, revocations)
        server = try TLSContext(.server, bundle, trusting: authorities, revocations: revocations)
        client = try TLSContext(.client, bundle, trusting: authorities, revocations: revocations)
        state = Mutex(
            State(
                bundle: bundle,
                summary: try bundle.certificate.summary,
                authorities: authorities,
                stamp: stamp,
                problem: nil
            )
        )
    }

    /// Who we are.
    package var identity: PeerIdentity { server.identity }
    /// The certificate that new connections show.
    package var certificate: CertificateSummary { state.withLock(\.summary) }
    /// Why the file as it is now is not used, with the remedy; nil when it is.
    package var problem: String? { state.withLock(\.problem) }

    /// Takes the file over when it has changed since it was looked at last; costs one `stat(2)` when not.
    ///
    /// - Returns: whether new connections show another certificate or trust other authorities than before.
    /// - Throws: `TLSError` once for each change of the file that cannot be used; `problem` tells it as long as it lasts.
    @discardableResult
    package func reloadIfChanged() throws -> Bool {
        try state.withLock { state in
            let stamp = FileStamp(path)
            guard stamp != state.stamp else { return false }
            state.stamp = stamp
            do {
                let bundle = try IdentityBundle.load(path)
                let isSame =
                    bundle.certificate.fingerprint == state.bundle.certificate.fingerprint
                    && bundle.authorities.map(\.fingerprint) == state.bundle.authorities.map(\.fingerprint)
                let summary = try bundle.certificate.summary
                if !isSame { try use(bundle, state.authorities) }
                (state.bundle, state.summary, state.problem) = (bundle, summary, nil)
                return !isSame
            } catch let error as TLSError {
                state.problem = "The changed identity file is not used: \(error.message)."
                throw error
            }
        }
    }

    /// The identity that new connections show, with its key.
    package var bundle: IdentityBundle { state.withLock(\.bundle) }

    /// Authorities that are trusted besides those in the file.
    package var furtherAuthorities: [Certificate] { state.withLock(\.authorities) }

    /// Fingerprints (digits) of all authorities that are trusted now.
    package var trusted: Set<String> {
        state.withLock { Set(($0.bundle.authorities + $0.authorities).map(\.fingerprintDigits)) }
    }

    /// Puts a renewed identity in the place of the file and shows it from now on; open connections stay.
    ///
    /// The file is read back before it is used; until the new one is complete there, the old one is.
    ///
    /// - Throws: `TLSError`.
    package func replace(with bundle: IdentityBundle) throws {
        // What is written must be what is read, or the next start would fail.
        let copy = try IdentityBundle(pem: Array(bundle.pem.utf8), place: "the renewed identity")
        guard copy.identity == identity, copy.ownAuthority != nil else {
            throw TLSError(.argument, "the renewed identity is not complete: its own authority is missing")
        }
        try copy.replace(path)
        try reloadIfChanged()
    }

    /// Trusts these authorities besides those in the file; the ones of an earlier call are forgotten.
    ///
    /// - Throws: `TLSError`; nothing has changed then.
    package func trust(_ authorities: [Certificate]) throws {
        try state.withLock { state in
            let isSame = authorities.map(\.fingerprint) == state.authorities.map(\.fingerprint)
            guard !isSame else { return }
            try use(state.bundle, authorities)
            state.authorities = authorities
        }
    }

    /// The server's end last: who is let in by it must be able to be called.
    private func use(_ bundle: IdentityBundle, _ authorities: [Certificate]) throws {
        try client.use(bundle, trusting: authorities)
        try server.use(bundle, trusting: authorities)
    }
}

/// What changes about a file when it is written or replaced.
private struct FileStamp: Equatable {
    var device: UInt
    var inode: UInt
    var size: Int
    var modified: [Int]
    var changed: [Int]

    /// Nil when there is no such file.
    init?(_ path: String) {
        var status = stat()
        guard unsafe stat(path, &status) == 0 else { return nil }
        (device, inode, size) = (UInt(status.st_dev), UInt(status.st_ino), Int(status.st_size))
        modified = [status.st_mtim.tv_sec, status.st_mtim.tv_nsec]
        changed = [status.st_ctim.tv_sec, status.st_ctim.tv_nsec]
    }
}
