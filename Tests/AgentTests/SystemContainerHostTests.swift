import AgentConfiguration
import Checkpointing
import ClusterModel
import ClusterState
import Containers
import GPU
import Glibc
import LinuxSystem
import Logging
import Testing

@testable import Agent

/// What the configuration says reaches those who run containers, and how a container ended is told as it was.
struct SystemContainerHostTests {
    @Test func everySettingOfContainersIsHonoured() {
        var configuration = AgentConfiguration(role: .worker)
        configuration.folders.state = "/s"
        configuration.folders.runtime = "/r"
        configuration.programs.runc = "/opt/runc"
        configuration.programs.shim = "/opt/shim"
        configuration.programs.umoci = "/opt/umoci"
        configuration.programs.skopeo = "/opt/skopeo"
        configuration.containerLogs.fileSize = .mebibytes(3)
        configuration.containerLogs.fileCount = 7
        configuration.images.pullTimeout = .seconds(77)
        let containers = SystemContainerHost.containersConfiguration(configuration)
        #expect(containers.stateFolder == "/s")
        #expect(containers.runtimeFolder == "/r")
        #expect(containers.runc == "/opt/runc")
        #expect(containers.shim == "/opt/shim")
        #expect(containers.umoci == "/opt/umoci")
        #expect(containers.skopeo == "/opt/skopeo")
        #expect(containers.logFileLimit == .mebibytes(3))
        #expect(containers.logFileCount == 7)
        #expect(containers.imageTimeout == .seconds(77))
        configuration.programs.shim = ""
        #expect(SystemContainerHost.containersConfiguration(configuration).shim == nil)
    }

    @Test func exitsAreTranslated() {
        func exit(_ cause: Containers.ContainerExit.Cause, kills: Int = 0) -> ClusterModel.ContainerExit {
            SystemContainerHost.exit(.init(cause: cause, endedAt: .epoch, memoryKillCount: kills))
        }
        #expect(exit(.code(0)) == .exited(code: 0))
        #expect(exit(.code(3)) == .exited(code: 3))
        #expect(exit(.signal(15)) == .signalled(number: 15, isOutOfMemory: false))
        #expect(exit(.signal(9), kills: 1) == .signalled(number: 9, isOutOfMemory: true))
        #expect(exit(.unknown) == .lost)
        // What the node's lease ended is neither the program's fault nor a kill by somebody.
        for cause in [Containers.ContainerExit.Cause.signal(9), .unknown] {
            let fenced = Containers.ContainerExit(cause: cause, endedAt: .epoch, memoryKillCount: 1, isFenced: true)
            #expect(SystemContainerHost.exit(fenced) == .fenced)
        }
        // A shell reports the death of its child as 128 + 9.
        #expect(exit(.code(137), kills: 1) == .signalled(number: 9, isOutOfMemory: true))
        #expect(exit(.code(137)) == .exited(code: 137))
        // A child was killed, and the job went on and succeeded.
        #expect(exit(.code(0), kills: 1) == .exited(code: 0))
    }

    @Test func onlyFoldersThatTheHostMadeAreItsToRemove() {
        for name in ["j-1-checkpoint", "train-a-7-restore"] {
            #expect(SystemContainerHost.isFolderName(name), "\(name)")
        }
        for name in [
            "", "notes", "checkpoint", "-checkpoint", "j-checkpoint", "j-1", "j-1-checkpoint.old", "j-1-backup",
        ] {
            #expect(!SystemContainerHost.isFolderName(name), "\(name)")
        }
    }

    private func withFolder(_ body: (String) throws -> Void) throws {
        let folder = "/tmp/godwit-host-test-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"
        try FileSystem.createFolder(folder, mode: 0o700)
        defer { try? FileSystem.removeAll(folder) }
        try body(folder)
    }

    @Test func aFolderForImagesOfJobsMustBePrivate() throws {
        func complaint(_ path: String) -> AgentProgram.Failure? {
            do throws(AgentProgram.Failure) {
                try PrivateFolder.require(path, setting: "checkpoints.tmpfs", because: "it must be private")
                return nil
            } catch { return error }
        }
        try withFolder { folder in
            #expect(complaint(folder) == nil)
            #expect(complaint(folder + "/") == nil)
            #expect(unsafe symlink(folder, "\(folder)/link") == 0)
            for link in ["\(folder)/link", "\(folder)/link/"] {
                #expect(complaint(link)?.description.contains("is a link") == true)
            }
            #expect(unsafe chmod(folder, 0o711) == 0)
            #expect(complaint(folder)?.description.contains("mode 711") == true)
            #expect(complaint(folder)?.exitCode == 78)
            #expect(complaint(folder + "/none")?.description.contains("is not there") == true)
            try FileSystem.writeAtomically("", to: "\(folder)/file", mode: 0o600)
            #expect(complaint(folder + "/file")?.description.contains("is not a folder") == true)
            try FileSystem.createFolder("\(folder)/foreign", mode: 0o700)
            #expect(unsafe chown("\(folder)/foreign", 65_534, 65_534) == 0)
            #expect(complaint(folder + "/foreign")?.description.contains("belongs to user 65534") == true)
        }
    }

    /// Runs what needs a host of its own, in a folder and a slice that are gone afterwards; its shim is none, so no start comes further than the image.
    private func withConfiguration(_ body: (AgentConfiguration, _ folder: String) async throws -> Void) async throws {
        let name = "godwit-host-test-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"
        let folder = "/tmp/\(name)"
        try FileSystem.createFolder(folder, mode: 0o700)
        var configuration = AgentConfiguration(role: .worker)
        configuration.folders.state = "\(folder)/state"
        configuration.folders.runtime = "\(folder)/run"
        configuration.checkpoints.tmpfs = "\(folder)/memory"
        configuration.cgroup.parent = "/\(name)"
        configuration.programs.shim = "/bin/true"
        try await body(configuration, folder)
        let slice = try CgroupSlice(in: try CgroupHierarchy.detect(), path: "/\(name)")
        try await slice.remove()
        try FileSystem.removeAll(folder)
    }

    private func makeHost(_ configuration: AgentConfiguration) throws -> SystemContainerHost {
        try SystemContainerHost(
            configuration,
            criu: nil,
            capacity: 1,
            inventory: GPUInventory(),
            logger: Logger(label: "test")
        )
    }

    @Test func aRegistryIsAskedOnceForAllStartsOfAJobAndNeverForAnotherImageThanItsCheckpoints() async throws {
        try await withConfiguration { configuration, folder in try await checkRegistryUse(configuration, folder) }
    }

    private func checkRegistryUse(_ given: AgentConfiguration, _ folder: String) async throws {
        var configuration = given
        configuration.programs.skopeo = "\(folder)/skopeo"
        func shell(_ script: String) async throws {
            let result = try await ProcessRunner.run(
                ProgramCommand("/bin/sh", ["-ec", script], workingDirectory: folder),
                timeout: .seconds(60)
            )
            try #require(result.isSuccess, "umoci and skopeo are needed: \(result.complaint)")
        }
        // A registry that needs no network, and a skopeo that counts how often it is asked.
        try await shell(
            """
            mkdir root; echo one >root/file; tar --create --file layer.tar --directory root file
            umoci init --layout registry; umoci new --image registry:tag; umoci raw add-layer --image registry:tag layer.tar
            printf '#!/bin/sh\necho asked >>%s/asked\nexec skopeo "$@"\n' "$PWD" >skopeo; chmod 755 skopeo
            """
        )
        func asked() -> Int {
            ((try? FileSystem.readText("\(folder)/asked")) ?? "").split(separator: "\n").count
        }
        func plan(_ job: String, _ incarnation: UInt32) -> ContainerPlan {
            ContainerPlan(
                key: ContainerKey(job: JobID(rawValue: job), incarnation: Incarnation(rawValue: incarnation)),
                specification: JobSpecification(
                    name: job,
                    kind: .batch,
                    image: .registry(reference: "oci:\(folder)/registry:tag")
                ),
                allocation: 1,
                cpuLimit: nil,
                memoryLimit: nil
            )
        }
        let images = "\(folder)/state/images"
        let host = try makeHost(configuration)
        await #expect(throws: ContainerError.self) { try await host.start(plan("j1", 1)) }
        await #expect(throws: ContainerError.self) { try await host.start(plan("j1", 2)) }
        #expect(asked() == 1)
        // The tag moves on: another agent still gives the job its own image, and a new job the new one.
        let old = try #require(try FileSystem.list(images).first { $0.hasPrefix("sha256-") })
        try await shell("umoci config --image registry:tag --config.env COLOUR=red")
        let second = try makeHost(configuration)
        await #expect(throws: ContainerError.self) { try await second.start(plan("j1", 3)) }
        #expect(asked() == 1)
        #expect(try await second.archivedJobs() == [JobID(rawValue: "j1")])
        await #expect(throws: ContainerError.self) { try await second.start(plan("j2", 1)) }
        #expect(asked() == 2)
        #expect(try FileSystem.list(images).filter { $0.hasPrefix("sha256-") }.count == 2)

        // A checkpoint of the old image, which is lost: nothing is held against the checkpoint, and nothing else is taken.
        try FileSystem.removeAll("\(images)/\(old)")
        let dump = "\(folder)/dump/images"
        try FileSystem.createFolder(dump, mode: 0o700)
        try FileSystem.writeAtomically(old, to: "\(dump)/godwit-image")
        try FileSystem.writeAtomically("{}", to: "\(dump)/godwit-container.json")
        let problem = await #expect(throws: RestoreProblem.self) {
            try await second.restore(plan("j1", 4), images: dump, layer: nil, pages: nil)
        }
        guard case .unavailable(let reason)? = problem else {
            Issue.record("the checkpoint itself was blamed: \(String(describing: problem))")
            return
        }
        #expect(reason.contains(old))
        try await second.forget(JobID(rawValue: "j1"))
        #expect(try await second.archivedJobs() == [JobID(rawValue: "j2")])
    }

    @Test(arguments: [Duration.zero, .seconds(1)])
    func whatIsGoneIsStopped(grace: Duration) async throws {
        try await withConfiguration { configuration, _ in
            let key = ContainerKey(job: JobID(rawValue: "j1aaaaaaaaaa"), incarnation: Incarnation(rawValue: 1))
            try await makeHost(configuration).stop(key, grace: grace)
        }
    }

    @Test func theImageOfAJobIsKnownAfterARestartUntilTheJobIsForgotten() throws {
        try withFolder { folder in
            let (job, other) = (JobID(rawValue: "j1"), JobID(rawValue: "j2"))
            let key = ImageKey(rawValue: "sha256-ab")
            let first = try JobImages(folder: folder + "/images")
            try first.note(key, of: job, isStored: true)
            // A folder of the user's is nothing that the collector could remove.
            try first.note(ImageKey(rawValue: "folder-cd"), of: other, isStored: false)
            let second = try JobImages(folder: folder + "/images")
            #expect(second.key(of: job) == key)
            #expect(second.all == [key])
            try second.forget(job)
            #expect(try JobImages(folder: folder + "/images").all.isEmpty)
        }
    }
}
