import ClusterModel
import Containers
import Foundation
import Glibc
import LinuxSystem
import Testing

/// What a container's users may do, whatever umask the agent was started with; the shipped unit has 077.
@Suite struct UserTests {
    @Test func `A user who is not root can enter all folders that the agent made for him`() async throws {
        // A process of its own, since the umask is that of a process: this program again, told by its environment what to do.
        let program = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        let result = try await ProcessRunner.run(
            ProgramCommand(
                program,
                ["--testing-library", "swift-testing", "--filter", "StrictUmaskTests"],
                environment: ProcessRunner.environment + [StrictUmask.order]
            ),
            timeout: .seconds(120)
        )
        let output = String(decoding: result.output + result.errorOutput, as: UTF8.self)
        #expect(result.isSuccess && output.contains(StrictUmask.lastWord), "\(output)")
    }
}

/// The process that ``UserTests`` starts.
private enum StrictUmask {
    static let order = "GODWIT_STRICT_UMASK=1"
    static let lastWord = "everything could be opened"
    static var isOrdered: Bool { ProcessRunner.environment.contains(order) }
}

@Suite struct StrictUmaskTests {
    @Test(.enabled(if: StrictUmask.isOrdered, "runs in the process that UserTests starts"))
    func everythingOpensForTheUser() async throws {
        try await TestNode.run { node in
            let given = "\(node.folder)/given"
            try FileSystem.createFolder(given)
            // Names of files only, so that the folders above them are the unpacking program's.
            let archive = "\(node.folder)/root.tar"
            let packed = try await ProcessRunner.run(
                ProgramCommand(
                    "tar",
                    ["--create", "--file", archive, "--directory", node.image.rootFolder, "probe", "data/file"]
                ),
                timeout: .seconds(30)
            )
            try #require(packed.isSuccess)
            umask(0o077)
            let image = try await node.images.prepare(.rootArchive(path: archive))
            let files = ["/", "/etc/hosts", "/etc/resolv.conf", "/etc/hostname", "/data/file", "/deep/given"]
            let (exit, output) = try await node.runToEnd("a-1", ["open"] + files) {
                $0.image = image
                $0.user = "1000:1000"
                $0.mounts = [.init(source: given, target: "/deep/given", isReadOnly: false)]
            }
            try #require(exit.isSuccess)
            try #require(output == ["user 1000"] + files.map { "\($0) opens" })
        }
        print(StrictUmask.lastWord)
    }
}
