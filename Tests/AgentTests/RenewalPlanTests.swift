import ClusterModel
import TLS
import Testing

@testable import Agent

/// A certificate is replaced half-way through its life, without a crowd at the issuer, and what fails is tried again in time.
struct RenewalPlanTests {
    private static let day = Duration.seconds(86_400)
    private static let start = Timestamp(seconds: 1_790_000_000)
    private static let issuers = ["a", "b", "c"].map { NodeID(rawValue: $0) }

    private static func certificate(_ issued: Timestamp = start, lifetime: Duration = day * 365) -> CertificateSummary {
        CertificateSummary(
            identity: .node(
                cluster: ClusterID(rawValue: "flock"),
                site: SiteID(rawValue: "coast"),
                node: NodeID(rawValue: "knot"),
                role: .worker
            ),
            serial: "1",
            issued: issued,
            notAfter: issued + lifetime
        )
    }

    @Test(arguments: [0.0, 0.3, 0.999]) func `Nobody is asked before half of the life is over, nor long after it`(
        share: Double
    ) {
        let (plan, certificate) = (RenewalPlan(share: share), Self.certificate())
        let half = Self.start + Self.day * 365 / 2
        #expect(
            plan.next(certificate, issuers: Self.issuers, now: half - .seconds(1))
                == .wait(until: plan.due(certificate))
        )
        #expect(plan.due(certificate) >= half && plan.due(certificate) <= half + Self.day * 19)
        guard case .ask = plan.next(certificate, issuers: Self.issuers, now: plan.due(certificate)) else {
            Issue.record("it is time, and nobody is asked")
            return
        }
        #expect(plan.next(certificate, issuers: [], now: plan.due(certificate)) == .nobody)
    }

    @Test func `After a failure the next issuer is asked, after pauses that grow to an hour`() {
        var plan = RenewalPlan(share: 0)
        let certificate = Self.certificate()
        var now = plan.due(certificate)
        var (asked, pauses): ([NodeID], [Duration]) = ([], [])
        for _ in 0..<9 {
            guard case .ask(let issuer) = plan.next(certificate, issuers: Self.issuers, now: now) else { break }
            asked.append(issuer)
            plan.failed(certificate, now: now, chance: 0.999)
            guard case .wait(let until) = plan.next(certificate, issuers: Self.issuers, now: now) else { break }
            pauses.append(until - now)
            now = until
        }
        #expect(asked.prefix(4) == [Self.issuers[0], Self.issuers[1], Self.issuers[2], Self.issuers[0]])
        #expect(pauses.count == 9 && zip(pauses, pauses.dropFirst()).allSatisfy { $0 <= $1 })
        #expect(pauses[0] <= .seconds(60) && pauses[0] >= .seconds(30))
        #expect(pauses[8] <= .seconds(3600) && pauses[8] >= .seconds(1800))
        plan.succeeded()
        #expect(plan == RenewalPlan(share: 0))
    }

    @Test func `Shortly before the end it is tried more often, and never without a pause`() {
        var plan = RenewalPlan(share: 0)
        let certificate = Self.certificate(lifetime: .seconds(600))
        for _ in 0..<12 { plan.failed(certificate, now: certificate.notAfter - .seconds(80), chance: 0) }
        guard
            case .wait(let until) = plan.next(
                certificate,
                issuers: Self.issuers,
                now: certificate.notAfter - .seconds(80)
            )
        else {
            Issue.record("it does not wait")
            return
        }
        #expect(until == certificate.notAfter - .seconds(75))
        plan.failed(certificate, now: certificate.notAfter + .seconds(5), chance: 0)
        guard
            case .wait(let later) = plan.next(
                certificate,
                issuers: Self.issuers,
                now: certificate.notAfter + .seconds(5)
            )
        else {
            Issue.record("it does not wait")
            return
        }
        #expect(later - certificate.notAfter > .seconds(5))
    }

    /// An issuer that answers so many requests an hour, is away for the first days, and is the only one that there is.
    private struct TwinIssuer {
        var awayUntil: Timestamp
        var hours: [Int: Int] = [:]
        mutating func sign(at now: Timestamp) -> Bool {
            hours[Int((now - RenewalPlanTests.start) / .seconds(3600)), default: 0] += 1
            return now >= awayUntil
        }
    }

    @Test func `Sixty-four nodes of the same day are all renewed long before the end, a few an hour`() {
        var generator = SeededGenerator(seed: 7)
        var issuer = TwinIssuer(awayUntil: Self.start + Self.day * 185)
        var renewed: [Timestamp] = []
        let certificate = Self.certificate()
        for _ in 0..<64 {
            var plan = RenewalPlan(share: generator.unit())
            var now = Self.start
            loop: for _ in 0..<10_000 {
                switch plan.next(certificate, issuers: [Self.issuers[0]], now: now) {
                case .wait(let until): now = until
                case .ask:
                    if issuer.sign(at: now) {
                        renewed.append(now)
                        break loop
                    }
                    plan.failed(certificate, now: now, chance: generator.unit())
                case .nobody: break loop
                }
            }
        }
        #expect(renewed.count == 64)
        #expect(renewed.allSatisfy { $0 < Self.start + Self.day * 203 })
        // Those that found it away come back within an hour of each other; the others one by one.
        #expect((issuer.hours.values.max() ?? 99) <= 40)
        #expect(issuer.hours.filter { $0.key > 186 * 24 }.values.allSatisfy { $0 <= 3 })
    }

    @Test func `People are told when nobody renews, and later when nobody succeeds`() {
        let certificate = Self.certificate(lifetime: Self.day * 100)
        func problem(_ day: Double, hasIssuer: Bool, _ failure: String? = nil) -> String? {
            RenewalPlan.problem(
                certificate,
                hasIssuer: hasIssuer,
                failure: failure,
                now: Self.start + Self.day * day,
                file: "/etc/godwit/node.pem"
            )
        }
        #expect(problem(49, hasIssuer: false) == nil && problem(74, hasIssuer: true) == nil)
        #expect(problem(51, hasIssuer: false)?.contains("identity.issuer") == true)
        let late = problem(76, hasIssuer: true, "node a: no way there")
        #expect(late?.contains("no way there") == true && late?.contains("godwit ca renew") == true, "\(late ?? "")")
        #expect(problem(101, hasIssuer: true)?.contains("expired") == true)
    }
}
