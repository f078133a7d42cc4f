import ClusterModel
import LinuxSystem

// Finding what nobody will ask for any more.
extension LogArchive {
    /// Jobs whose output is here, sorted.
    func jobs() throws -> [JobID] {
        guard FileSystem.exists(folder) else { return [] }
        return try FileSystem.list(folder).map { JobID(rawValue: $0) }.sorted()
    }
}
