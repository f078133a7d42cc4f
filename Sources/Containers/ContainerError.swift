internal import LinuxSystem

/// Why something with a container or an image did not work, for the person whose job it is.
package struct ContainerError: Error, Equatable, Sendable, CustomStringConvertible {
    /// What kind of failure it is, for code that must decide what to do next.
    package enum Code: String, Sendable, Codable {
        /// The image, or the file or folder that was named as one, does not exist or cannot be reached.
        case imageMissing
        /// There is something, but it is not an image, or is damaged, or is for another processor.
        case imageInvalid
        /// No space left where images, containers or checkpoints are kept.
        case diskFull
        /// The program that the container is to run is not in the image, or cannot be executed.
        case programInvalid
        /// User, working directory, mount or environment cannot be had in this image or on this node.
        case settingInvalid
        /// A GPU device was asked for that this node cannot give to a container.
        case deviceMissing
        /// runc, umoci, skopeo, tar or criu is missing on this node.
        case toolMissing
        /// runc failed for another reason.
        case runtimeFailed
        /// There is no such container, or it has ended.
        case containerMissing
        /// There is such a container already.
        case containerExists
        /// The container does something that CRIU cannot checkpoint.
        case checkpointObstructed
        /// CRIU failed while it dumped; the container runs on.
        case checkpointFailed
        /// The container could not be restored from its images.
        case restoreFailed
        /// The node's lease has ended: for the time being it has no right to run containers.
        case fenced
        /// It took longer than it may.
        case timedOut
    }

    package var code: Code
    /// What happened, in a sentence.
    package var reason: String
    /// What to do about it, in a sentence.
    package var remedy: String
    /// Where the log of runc or CRIU was copied to, or lines from it; nil when there is no more to tell.
    package var details: String?

    package init(_ code: Code, _ reason: String, remedy: String, details: String? = nil) {
        (self.code, self.reason, self.remedy, self.details) = (code, reason, remedy, details)
    }

    package var description: String { remedy.isEmpty ? reason : "\(reason) \(remedy)" }

    /// Whether the same attempt on the same node can only fail again.
    package var isPermanent: Bool {
        switch code {
        case .imageInvalid, .programInvalid, .settingInvalid: true
        default: false
        }
    }

    /// Turns a failed system call into an error of ours; a full disk keeps its own code.
    init(_ error: SystemError, while activity: String) {
        let isFull = error.symbol == "ENOSPC" || error.symbol == "EDQUOT"
        self.init(
            isFull ? .diskFull : .runtimeFailed,
            "While \(activity): \(error)",
            remedy: isFull ? "Then start the job again." : ""
        )
    }
}

/// Runs `body` and gives a system call's failure the words of `activity`.
func explaining<Result: ~Copyable>(
    _ activity: @autoclosure () -> String,
    _ body: () throws(SystemError) -> Result
) throws(ContainerError)
    -> Result
{
    do throws(SystemError) { return try body() } catch { throw ContainerError(error, while: activity()) }
}
