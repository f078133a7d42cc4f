import Checkpointing
import ClusterModel
import Containers
import LinuxSystem
import ResourceSamples

// What outlives an agent of a move, and what a job that comes here needs.
extension SystemContainerHost {
    /// Ends the name of a folder with a dump that goes to another node.
    static let migrationSuffix = "-migration"
    /// In such a folder: that the container may have been handed over, and for which of the job's moves.
    private static let markName = "held"
    /// In such a folder: that the memory is not in it.
    private static let lazyName = "lazy"

    /// Containers that may have been handed over, with their moves.
    func heldMoves() -> [ContainerID: UInt64] {
        var found: [ContainerID: UInt64] = [:]
        for name in (try? FileSystem.list(scratch)) ?? [] where name.hasSuffix(Self.migrationSuffix) {
            let id = ContainerID(rawValue: String(name.dropLast(Self.migrationSuffix.count)))
            guard id.parts != nil, let mark = try? FileSystem.readLine("\(scratch)/\(name)/\(Self.markName)") else {
                continue
            }
            // One that cannot be read is one all the same: no move has the number 0, so it is settled through the log.
            found[id] = UInt64(mark) ?? 0
        }
        return found
    }

    func prepareMigration(
        _ key: ContainerKey,
        specification: JobSpecification,
        isLazy: Bool
    ) async throws -> CheckpointFolders {
        let folders = try makeFolders(key, "migration")
        do {
            try runtime.requireCheckpointable(
                id(key),
                tcpEstablished: specification.checkpoint.tcpEstablished,
                in: folders.root,
                withMemory: !isLazy
            )
            if isLazy { try FileSystem.writeAtomically("", to: "\(folders.root)/\(Self.lazyName)", mode: 0o600) }
        } catch {
            await removeFolders(folders)
            throw error
        }
        return folders
    }

    func dumpLazily(
        _ key: ContainerKey,
        into folders: CheckpointFolders,
        specification: JobSpecification
    ) async throws -> any HeldMemory {
        let (_, memory) = try await runtime.dumpLazily(
            id(key),
            folder: folders.root,
            tcpEstablished: specification.checkpoint.tcpEstablished
        )
        do { try completeImages(of: key, in: folders) } catch {
            await memory.abort()
            throw error
        }
        return memory
    }

    func lacksMemory(_ folders: CheckpointFolders) -> Bool {
        FileSystem.exists("\(folders.root)/\(Self.lazyName)")
    }

    func markHeld(_ folders: CheckpointFolders, move: UInt64) throws {
        try FileSystem.writeAtomically("\(move)\n", to: "\(folders.root)/\(Self.markName)", mode: 0o600)
    }

    func heldFolders(_ key: ContainerKey) -> CheckpointFolders? {
        let folders = CheckpointFolders(root: "\(scratch)/\(key)\(Self.migrationSuffix)")
        return FileSystem.exists("\(folders.root)/\(Self.markName)") ? folders : nil
    }

    func hasLayer(_ folders: CheckpointFolders) -> Bool { FileSystem.exists(folders.layer) }

    func dumpedMemory(in images: String) throws -> DumpedMemory {
        try ContainerRuntime.dumpedMemory(in: images)
    }

    /// What another node asks before it takes a job.
    func migrationFacts(of job: JobID) -> MigrationFacts {
        let key = openContainers.filter { $0.job == job }.max()
        let memory = key.flatMap { sample($0) }?.memory ?? .zero
        return MigrationFacts(
            image: jobImages.key(of: job)?.rawValue ?? "",
            memory: memory,
            isLazy: MigrationFacts.isLazy(memory, obstacle: lazyRestoreObstacle)
        )
    }

    func prepareArrival(
        _ specification: JobSpecification,
        of job: JobID,
        _ facts: MigrationFacts
    ) async throws {
        try runtime.requireRestorable()
        for mount in specification.mounts where !FileSystem.exists(mount.source) {
            throw ContainerError(
                .settingInvalid,
                "The folder \(mount.source), which the job has mounted, is not on this node.",
                remedy: "Move the job only to where its mounted folders are."
            )
        }
        let space = try FileSystem.space(at: scratch).available
        guard facts.room <= space else {
            throw ContainerError(
                .diskFull,
                "The job uses \(facts.memory) of memory, \(scratch) has room for \(space), and \(facts.room) are needed for the move.",
                remedy: "Free memory, or give checkpoints.tmpfs more room."
            )
        }
        let prepared = try await images.prepare(
            specification.image,
            pinned: facts.image.isEmpty ? nil : ImageKey(rawValue: facts.image)
        )
        note(prepared.key, of: job, isStored: prepared.size > .zero)
    }
}

extension FrozenMemory: HeldMemory {}
