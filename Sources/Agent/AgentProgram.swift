import AgentConfiguration
import Checkpointing
package import ClusterModel
import ClusterState
import Containers
import GPU
import Glibc
import ImageStore
import LinuxSystem
import Logging
import Metrics
import NIO
import QoS
import ServiceLifecycle
import Storage
import TLS
import Transport

/// The commands of `godwitd`.
package enum AgentProgram {
    /// The version of the agent; follows semver.org, and differs from the protocol's.
    package static let version = "0.1.0"

    /// Something that ends the program: one line for people, and the exit code (sysexits.h where it fits).
    package struct Failure: Error, CustomStringConvertible {
        /// What failed, why, and what to do next, without the program's name.
        package var description: String
        /// The exit status of the program, from 1 to 255.
        package var exitCode: Int32

        /// A failure with its sentence; 78 (EX_CONFIG) for what the configuration must change.
        package init(_ description: String, exitCode: Int32 = 1) {
            (self.description, self.exitCode) = (description, exitCode)
        }
    }

    /// Runs a command; a failure is printed as one line and ends the program with its exit code.
    package static func exitOnFailure(_ body: () async throws -> Void) async throws {
        do {
            try await body()
        } catch let failure as Failure {
            writeError("godwitd: \(failure)\n")
            exit(failure.exitCode)
        } catch {
            writeError("godwitd: \(error)\n")
            exit(1)
        }
    }

    /// Prints the commented default configuration of a role.
    package static func printDefaultConfiguration(role: NodeRole) {
        write(AgentConfiguration.defaultDocument(role: role))
    }

    /// Says what is wrong with a configuration file, or that nothing is.
    package static func checkConfiguration(path: String) async throws {
        _ = try readConfiguration(path: path, role: .worker)
        write("\(path): nothing is wrong with it\n")
    }

    /// Prints what this machine can do.
    package static func doctor(configurationPath: String?, asJSON: Bool) async throws {
        let configuration =
            try configurationPath.map { try readConfiguration(path: $0, role: .worker) }
            ?? AgentConfiguration(role: .worker)
        let reports = await probe(configuration).capabilities
        write(asJSON ? DoctorReport.json(reports) : DoctorReport.table(reports))
        if reports.contains(where: { $0.isRequired && !$0.isPresent }) {
            throw Failure("containers cannot run here; the table names what is missing and the remedy")
        }
    }

    /// What this machine can do, with the programs that the configuration names.
    static func probe(_ configuration: AgentConfiguration) async -> NodeProbe.Result {
        var probe = NodeProbe.Configuration()
        probe.runc = configuration.programs.runc
        probe.criu = criuCandidates(configuration)
        probe.skopeo = configuration.programs.skopeo
        probe.umoci = configuration.programs.umoci
        probe.fastFolder = FileSystem.parent(of: configuration.checkpoints.tmpfs)
        probe.stateFolder = configuration.folders.state
        var result = await NodeProbe(probe).run()
        result.capabilities.append(await ContainerBridge.capability(configuration.network.bridge))
        result.capabilities.append(await GPUInventory().capability())
        return result
    }

    /// Where CRIU may be; the first that works is taken.
    static func criuCandidates(_ configuration: AgentConfiguration) -> [String] {
        let name = configuration.programs.criu
        return name == "criu" ? NodeProbe.Configuration().criu : [name]
    }

    /// Reads file, environment and the words of `--set`.
    static func readConfiguration(
        path: String?,
        role: NodeRole,
        settings: [String] = []
    ) throws -> AgentConfiguration {
        var document: DocumentNode?
        if let path {
            let bytes: [UInt8]
            do { bytes = try FileSystem.read(path, limit: YAMLDocument.byteLimit + 1) } catch {
                throw Failure(
                    "the configuration cannot be read: \(error); make one with `godwitd config default --role worker`",
                    exitCode: 78
                )
            }
            do { document = try YAMLDocument.read(bytes) } catch {
                throw Failure("\(path): \(error)", exitCode: 78)
            }
        }
        var environment: [String: String] = [:]
        for entry in ProcessRunner.environment {
            guard let equals = entry.firstIndex(of: "=") else { continue }
            environment[String(entry[..<equals])] = String(entry[entry.index(after: equals)...])
        }
        do {
            return try AgentConfiguration.read(document, role: role, environment: environment, flags: settings)
        } catch {
            let lines = error.problems.map { "\(path ?? "environment"): \($0)" }
            throw Failure(lines.joined(separator: "\ngodwitd: "), exitCode: 78)
        }
    }

    static func write(_ text: String) { fputsAll(text, to: 1) }
    static func writeError(_ text: String) { fputsAll(text, to: 2) }

    private static func fputsAll(_ text: String, to descriptor: Int32) {
        var bytes = Array(text.utf8)[...]
        while !bytes.isEmpty {
            let count = unsafe bytes.withUnsafeBytes { unsafe Glibc.write(descriptor, $0.baseAddress, $0.count) }
            guard count > 0 else { return }
            bytes = bytes.dropFirst(count)
        }
    }
}
