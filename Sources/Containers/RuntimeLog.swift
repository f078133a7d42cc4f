internal import ClusterModel
internal import FoundationEssentials
internal import LinuxSystem

/// Reads why runc failed out of its log.
enum RuntimeLog {
    private struct Entry: Decodable {
        var level: String
        var msg: String
    }

    /// The message of the last error, without runc's own prefix.
    static func lastError(in text: String) -> String? {
        for line in text.split(separator: "\n").reversed() {
            guard let entry = try? JSONDecoder().decode(Entry.self, from: Data(line.utf8)), entry.level != "info",
                entry.level != "debug", entry.level != "warning"
            else { continue }
            for prefix in ["runc run failed: ", "runc create failed: ", "runc restore failed: "]
            where entry.msg.hasPrefix(prefix) {
                return String(entry.msg.dropFirst(prefix.count))
            }
            return entry.msg
        }
        return nil
    }

    /// What a failed start means for the person whose job it is.
    static func explain(_ message: String, _ request: StartRequest) -> ContainerError {
        let program = (request.command.first ?? request.image.entryPoint.first ?? request.image.command.first) ?? ""
        func error(_ code: ContainerError.Code, _ reason: String, _ remedy: String) -> ContainerError {
            ContainerError(code, reason, remedy: remedy, details: message)
        }
        if saysDiskIsFull(message) {
            return error(
                .diskFull,
                "The disk that holds the containers is full.",
                "Free space there; old images can be removed."
            )
        }
        if message.contains("exec:") || message.contains("exec user process") {
            if message.contains("not found in $PATH") || message.contains("no such file or directory") {
                return error(
                    .programInvalid,
                    "The image has no program \"\(program)\".",
                    "Check the job's command; a program without a slash is looked for in the container's PATH."
                )
            }
            if message.contains("permission denied") {
                return error(
                    .programInvalid,
                    "\"\(program)\" in the image cannot be executed.",
                    "It needs the execute permission for the container's user."
                )
            }
            if message.contains("exec format error") {
                return error(
                    .programInvalid,
                    "\"\(program)\" is not a program for this node's processor.",
                    "Use an image for linux/\(Machine.architecture); a script needs a first line such as #!/bin/sh."
                )
            }
            if message.contains("is a directory") {
                return error(.programInvalid, "\"\(program)\" in the image is a folder.", "Correct the job's command.")
            }
        }
        if message.contains("OOM-killed") {
            return error(
                .settingInvalid,
                "The memory limit\(request.memoryLimit.map { " of \($0)" } ?? "") is too low to start a container.",
                "Give the job more memory; a few MiB are needed even for a tiny program."
            )
        }
        if message.contains("chdir to cwd") || message.contains("cwd") {
            return error(
                .settingInvalid,
                "The working directory \"\(request.workingDirectory ?? request.image.workingDirectory ?? "/")\" "
                    + "cannot be entered in the container.",
                "Correct the job's working directory."
            )
        }
        if message.contains("error mounting"),
            let mount = request.mounts.first(where: { message.contains("\"\($0.source)\"") })
        {
            return error(
                .settingInvalid,
                "\(mount.source) could not be mounted at \(mount.target): a file cannot be mounted over a folder, "
                    + "nor a folder over a file.",
                "Correct the job's mounts."
            )
        }
        return error(
            .runtimeFailed,
            "runc could not start the container: \(message)",
            "Look at the node with `godwitd doctor`."
        )
    }
}
