internal import LinuxSystem

/// Reads why CRIU failed out of its log.
enum CRIULog {
    /// The first lines with errors; later ones are mostly consequences.
    static func errors(in text: String, limit: Int = 6) -> [String] {
        var found: [String] = []
        for line in text.split(separator: "\n") where line.contains("Error (") {
            // CRIU cannot raise limits without a capability that it does not need, and says so each time.
            if line.contains("RLIMIT_NOFILE") { continue }
            found.append(String(line))
            if found.count == limit { break }
        }
        return found
    }

    /// What CRIU's errors mean, for the person whose job it is; nil when none is known.
    static func explain(_ errors: [String]) -> (reason: String, remedy: String)? {
        for error in errors {
            for cause in causes where cause.marks.allSatisfy(error.contains) { return (cause.reason, cause.remedy) }
        }
        return nil
    }

    /// Whether the log of a restore that failed does not rule out that the container's processes ran.
    ///
    /// CRIU says that it unlocks the network right before it lets them go (`criu/cr-restore.c`); without that line they stood still to the end.
    static func mayHaveResumed(_ path: String) -> Bool {
        guard let text = try? FileSystem.readText(path, limit: 64 << 20) else { return false }
        return text.contains("Unlock network")
    }

    /// An error with CRIU's reason, from the log of a dump or a restore.
    static func failure(
        _ code: ContainerError.Code,
        _ what: String,
        log path: String,
        complaint: String
    ) -> ContainerError {
        let lines = errors(in: (try? FileSystem.readText(path, limit: 64 << 20)) ?? "")
        let details = (lines.isEmpty ? [complaint] : lines).joined(separator: "\n")
        if saysDiskIsFull(details) || saysDiskIsFull(complaint) {
            return ContainerError(
                .diskFull,
                "\(what): no space was left for the images or the files.",
                remedy: "Free memory or space in the checkpoint's folder.",
                details: details
            )
        }
        if let known = explain(lines) {
            return ContainerError(code, "\(what): \(known.reason)", remedy: known.remedy, details: details)
        }
        let first = lines.first.map(withoutPrefix) ?? lastSentence(of: complaint)
        return ContainerError(
            code,
            "\(what). CRIU says: \(first)",
            remedy:
                "The lines of CRIU's log that follow it are in the details; if the program uses something unusual, it may not be "
                + "possible to checkpoint it.",
            details: details
        )
    }

    /// `(00.012) 7: Error (criu/x.c:12): text` without all before the text.
    private static func withoutPrefix(_ line: String) -> String {
        guard let mark = line.range(of: "): ") else { return line }
        return String(line[mark.upperBound...])
    }

    private struct Cause {
        var marks: [String]
        var reason: String
        var remedy: String
    }

    /// Texts of CRIU 4.2's sources.
    private static let causes: [Cause] = [
        Cause(
            marks: ["io_uring"],
            reason: "the program uses io_uring, which CRIU cannot keep.",
            remedy:
                "Switch it off in the program; Godwit's containers normally refuse io_uring so that programs do without."
        ),
        Cause(
            marks: ["Connected TCP socket"],
            reason: "the program has an established TCP connection.",
            remedy: "Allow it with `checkpoint.tcpEstablished: true`, or close connections before a checkpoint."
        ),
        Cause(
            marks: ["half of stream unix connection"],
            reason: "the program is connected to a Unix socket of a process outside the container.",
            remedy: "Do not mount sockets of the node into a job that is to be checkpointed."
        ),
        Cause(
            marks: ["External socket is used"],
            reason: "the program is connected to a Unix socket of a process outside the container.",
            remedy: "Do not mount sockets of the node into a job that is to be checkpointed."
        ),
        Cause(
            marks: ["ghost", "size"],
            reason: "the program holds a deleted file open that is larger than the limit.",
            remedy: "Raise the limit for deleted files in the agent's configuration, or keep such files undeleted."
        ),
        Cause(
            marks: ["link-remap"],
            reason: "the program holds a file open whose name was deleted while another name remains.",
            remedy: "Close such files before a checkpoint."
        ),
        Cause(
            marks: ["Can't lookup mount"],
            reason: "the program holds a file open that lies outside the container.",
            remedy: "Do not pass descriptors of the node into the container."
        ),
        Cause(
            marks: ["Can't dump file", "of that type"],
            reason: "the program has a device open that CRIU cannot keep.",
            remedy: "A GPU must be released first; other devices cannot be kept."
        ),
        Cause(
            marks: ["already traced"],
            reason: "a debugger is attached to a process of the container.",
            remedy: "Detach it (gdb, strace) and try again."
        ),
        Cause(
            marks: ["has bad size"],
            reason: "a file is not as it was when the images were made.",
            remedy: "Files in mounted folders of the node must not change between checkpoint and restore."
        ),
        Cause(
            marks: ["Can't open file", "on restore"],
            reason: "a file that the program held open is missing here.",
            remedy: "Mounted folders must hold the same files as where the checkpoint was taken."
        ),
        Cause(
            marks: ["Address already in use"],
            reason: "a network port that the program listens on is taken on this node.",
            remedy:
                "Stop what uses the port; after a container with connections was killed, the kernel keeps theirs for a minute."
        ),
        Cause(
            marks: ["Cannot assign requested address"],
            reason: "an address that the program's connections use does not exist on this node.",
            remedy: "Restore where the address is, or checkpoint without established connections."
        ),
        Cause(
            marks: ["CPU", "required"],
            reason: "this node's processor lacks instructions that the program may be using.",
            remedy: "Restore on a node with the same kind of processor."
        ),
        Cause(
            marks: ["cpu:", "not supported"],
            reason: "this node's processor lacks instructions that the program may be using.",
            remedy: "Restore on a node with the same kind of processor."
        ),
        Cause(
            marks: ["unexpected rt vDSO"],
            reason: "this CRIU is too old for this kernel.",
            remedy: "Run agents/packaging/install-criu."
        ),
    ]
}

extension String {
    struct Found { var upperBound: String.Index }

    /// The first place of a text; without Foundation.
    func range(of text: String) -> Found? {
        var start = startIndex
        while start < endIndex {
            if self[start...].hasPrefix(text) { return Found(upperBound: index(start, offsetBy: text.count)) }
            start = index(after: start)
        }
        return nil
    }
}
