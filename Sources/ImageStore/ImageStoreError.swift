package import Checkpointing
internal import ClusterModel
internal import Glibc
package import LinuxSystem

/// Why the image store could not do what it was asked: what is wrong, where, and what to do next.
package struct ImageStoreError: Error, Sendable, CustomStringConvertible {
    /// What kind of failure it is; decides what the agent does next.
    package enum Code: Sendable, Equatable {
        /// There is no such checkpoint.
        case notFound
        /// There is one already; generations are never written twice.
        case alreadyExists
        /// The stored bytes are not those that were written, or belong to something else.
        case damaged
        /// A later release wrote it.
        case futureVersion
        /// Disk or memory has no room.
        case noSpace
        /// The images to store, or the folder to extract to, are not as they must be.
        case unsuitable
        /// Another operation works on the same checkpoint, or another agent on the same folder.
        case busy
        case cancelled
        /// The system refused something else; see `cause`.
        case system
    }

    package var code: Code
    /// One or two sentences for people.
    package var message: String
    package var cause: SystemError?

    package init(_ code: Code, _ message: String, cause: SystemError? = nil) {
        self.code = code
        self.message = message
        self.cause = cause
    }

    package var description: String { cause.map { "\(message) \($0)" } ?? message }

    /// What a restore should make of it: a fault of the images, or a passing lack.
    package var restoreProblem: RestoreProblem {
        switch code {
        case .damaged, .notFound, .futureVersion: .damaged(reason: description)
        case .alreadyExists, .noSpace, .unsuitable, .busy, .cancelled, .system: .unavailable(reason: description)
        }
    }
}

extension ImageStoreError {
    static func damaged(_ place: CheckpointPlace, _ what: String) -> ImageStoreError {
        ImageStoreError(
            .damaged,
            "Checkpoint \(place.generation) of job \(place.job) is damaged: \(what). "
                + "Restore the generation before it, and check the disk that holds \(place.path)."
        )
    }

    /// Translates what `decode` found in a file of a checkpoint.
    static func undecodable(_ place: CheckpointPlace, _ error: ImageIndexError) -> ImageStoreError {
        guard case .futureVersion = error else { return damaged(place, "\(error)") }
        return ImageStoreError(
            .futureVersion,
            "Checkpoint \(place.generation) of job \(place.job) cannot be read: \(error)."
        )
    }

    static func system(_ error: SystemError, doing what: String) -> ImageStoreError {
        if error.code == ENOSPC || error.code == EDQUOT {
            return ImageStoreError(.noSpace, "\(what): there is no room left.", cause: error)
        }
        return ImageStoreError(.system, "\(what).", cause: error)
    }
}

/// Which checkpoint, and where it lies; for messages and as a key.
struct CheckpointPlace: Sendable, Hashable {
    var job: JobID
    var generation: CheckpointGeneration
    var path: String
    var dataPath: String { "\(path)/data" }
    /// A name of an earlier generation's data file, here as long as this generation refers to it.
    func dataPath(of source: CheckpointGeneration) -> String { "\(path)/data.\(source)" }
    var indexPath: String { "\(path)/index" }
    var damagePath: String { "\(path)/damaged" }
    var partialPath: String { "\(path).partial" }
    /// The same generation while it is being written.
    var partial: CheckpointPlace {
        var place = self
        place.path = partialPath
        return place
    }
    var removedPath: String { "\(path).removed" }
}
