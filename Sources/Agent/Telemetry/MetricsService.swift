import HTTPTypes
import Hummingbird
import Logging
import NIOCore
import ServiceLifecycle

/// Serves `/metrics` (Prometheus text) and `/health` over plain HTTP on a loopback address.
///
/// The port carries no secrets and no commands; still it is refused on any other address unless the configuration says so.
struct MetricsService: Service {
    private let host: String
    private let port: Int
    private let registry: MetricsRegistry
    private let problems: @Sendable () async -> [String]
    private let logger: Logger

    /// Serves a registry; `problems` lists what is wrong with the agent, one line each.
    init(
        host: String,
        port: Int,
        registry: MetricsRegistry,
        logger: Logger,
        problems: @escaping @Sendable () async -> [String]
    ) {
        (self.host, self.port, self.registry) = (host, port, registry)
        (self.logger, self.problems) = (logger, problems)
    }

    func run() async throws {
        let router = Router()
        router.get("/metrics") { [registry] _, _ in
            Response(
                status: .ok,
                headers: [.contentType: "text/plain; version=0.0.4; charset=utf-8"],
                body: .init(byteBuffer: ByteBuffer(string: registry.render()))
            )
        }
        router.get("/health") { [problems] _, _ in
            let lines = await problems()
            return Response(
                status: lines.isEmpty ? .ok : .serviceUnavailable,
                headers: [.contentType: "text/plain; charset=utf-8"],
                body: .init(
                    byteBuffer: ByteBuffer(string: (lines.isEmpty ? ["ok"] : lines).joined(separator: "\n") + "\n")
                )
            )
        }
        var quiet = logger
        quiet.logLevel = .warning
        let application = Application(
            router: router,
            configuration: .init(address: .hostname(host, port: port), serverName: "godwitd"),
            logger: quiet
        )
        try await application.runService(gracefulShutdownSignals: [])
    }
}
