import ClusterModel
import Containers
import Glibc
import LinuxSystem
import Synchronization

/// Which image each job runs: it keeps the one of its first start, and that one is not collected while the job may run again.
///
/// On disk too, since a job that waits or is suspended has no container from which an agent that starts could learn it.
final class JobImages: Sendable {
    private let folder: String
    private let keys: Mutex<[JobID: ImageKey]>

    init(folder: String) throws(SystemError) {
        self.folder = folder
        try FileSystem.createFolder(folder, mode: 0o700)
        var known: [JobID: ImageKey] = [:]
        for name in try FileSystem.list(folder) {
            // A crash of the machine may have emptied it: then the job's image is asked for anew.
            guard let key = try? FileSystem.readLine("\(folder)/\(name)"), !key.isEmpty else { continue }
            known[JobID(rawValue: name)] = ImageKey(rawValue: key)
        }
        keys = Mutex(known)
    }

    func key(of job: JobID) -> ImageKey? { keys.withLock { $0[job] } }

    /// The images that must stay.
    var all: Set<ImageKey> { keys.withLock { Set($0.values) } }

    /// The jobs of which an image is noted.
    var jobs: Set<JobID> { keys.withLock { Set($0.keys) } }

    /// Remembers the image of a job; `isStored` says that it lies in the cache, whose collector must know of it.
    func note(_ key: ImageKey, of job: JobID, isStored: Bool) throws(SystemError) {
        guard keys.withLock({ $0.updateValue(key, forKey: job) != key }), isStored else { return }
        // Not forced to disk: after a crash of the machine an image can be fetched again, and every start would pay for it.
        let path = "\(folder)/\(job)"
        try OwnedDescriptor(opening: path, O_WRONLY | O_CREAT | O_TRUNC, mode: 0o600)
            .write(Array("\(key)\n".utf8), path: path)
    }

    /// Lets go of the image of a job that is forgotten.
    func forget(_ job: JobID) throws(SystemError) {
        keys.withLock { $0[job] = nil }
        try FileSystem.removeAll("\(folder)/\(job)")
    }
}
