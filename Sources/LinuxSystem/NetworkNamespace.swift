internal import CLinux
internal import Glibc

/// Network namespaces that have a name, as ip-netns(8) keeps them.
package enum NetworkNamespace {
    /// Where their names are.
    package static let folder = "/run/netns"

    /// What refers to the namespace of a name.
    package static func path(_ name: String) -> String { "\(folder)/\(name)" }

    /// Runs a call in a namespace: what it opens stays there, wherever it is used afterwards.
    ///
    /// A thread of its own enters it and ends with the call, so that no other code ever finds itself there. nil means the namespace of
    /// this process.
    package static func run<Result: Sendable>(
        in name: String?,
        _ body: @escaping @Sendable () throws(SystemError) -> Result
    ) async throws -> Result {
        guard let name else { return try body() }
        let path = path(name)
        let outcome = await withCheckedContinuation { (continuation: CheckedContinuation<Outcome<Result>, Never>) in
            let run: @Sendable () -> Void = { continuation.resume(returning: enter(path, body)) }
            do throws(SystemError) { try SystemThread.start(name: "godwit-netns", run) } catch {
                continuation.resume(returning: .failed(error))
            }
        }
        switch outcome {
        case .done(let result): return result
        case .failed(let error): throw error
        }
    }

    private enum Outcome<Result: Sendable>: Sendable {
        case done(Result)
        case failed(SystemError)
    }

    private static func enter<Result>(_ path: String, _ body: () throws(SystemError) -> Result) -> Outcome<Result> {
        do throws(SystemError) {
            let namespace = try OwnedDescriptor(opening: path, O_RDONLY)
            let number = namespace.rawValue
            _ = try retrying("enter the network namespace", path) { godwit_enter_network(number) }
            return .done(try body())
        } catch {
            return .failed(error)
        }
    }
}
