import ClusterModel
import ClusterState
import Logging
import ServiceLifecycle
import TLS
import Transport

/// Brings what the cluster decided about certificates to where they are checked, and takes over a renewed identity file.
struct TrustService: Service {
    let replica: Replica
    let tls: ReloadableTLSContext
    let server: RPCServer
    let logger: Logger
    let now: @Sendable () -> Timestamp
    /// A revocation is in force everywhere after so long, on open connections too.
    let period: Duration = .seconds(1)

    func run() async throws {
        await cancelWhenGracefulShutdown {
            var known: [ClusterState::Revocation] = []
            while !Task.isCancelled {
                let revocations = await replica.state.revocations
                if revocations != known {
                    known = revocations
                    refuse(revocations)
                }
                takeOverIdentity()
                // A handshake cannot know what expires while the connection is open.
                let moment = now()
                server.disconnect { $0.notAfter < moment }
                try? await Task.sleep(for: period)
            }
        }
    }

    private func refuse(_ revocations: [ClusterState::Revocation]) {
        tls.revocations.replace(
            with: revocations.map { revocation in
                switch revocation.subject {
                case .certificate(let serial, _): TLS::Revocation.serial(serial)
                case .identity(let identity): TLS::Revocation.identity(identity, issuedUntil: revocation.time)
                }
            }
        )
        let list = tls.revocations
        let ended = server.disconnect { list.revokes($0) }
        logger.notice(
            "trust.revoked",
            metadata: ["revocations": "\(revocations.count)", "connectionsEnded": "\(ended)"]
        )
    }

    private func takeOverIdentity() {
        do {
            if try tls.reloadIfChanged() {
                logger.notice("identity.reloaded", metadata: ["expires": "\(tls.certificate.notAfter)"])
            }
        } catch {
            logger.error("identity.reload.failed", metadata: ["error": "\(error)"])
        }
    }
}
