import ClusterModel
import LinuxSystem

/// Reads documents that users wrote: bytes in, valid values or every problem out.
struct DocumentShell: Sendable {
    init() {}

    /// Reads a job document; relative paths in it start at `baseFolder`.
    ///
    /// - Throws: `DocumentProblems`.
    func jobSpecification(_ bytes: [UInt8], name: String, baseFolder: String) throws -> JobSpecification {
        let document: DocumentNode
        do {
            document = try YAMLDocument.read(bytes)
        } catch let problem as DocumentProblem {
            throw DocumentProblems([problem])
        }
        return try JobSpecificationParser.parse(
            document,
            folder: baseFolder.hasPrefix("/") ? baseFolder : "/",
            now: WallClock.now()
        )
    }
}
