// godwit-shim FOLDER: the parent of one container, which outlives the agent that started it.
//
// No Foundation and one thread: there is one of these per container, so start-up time and memory count.

internal import CLinux
internal import Glibc

guard CommandLine.arguments.count == 2, !CommandLine.arguments[1].hasPrefix("-") else {
    let usage = """
        Usage: godwit-shim FOLDER

        Starts the container that FOLDER/shim.spec describes, keeps its output in
        FOLDER/logs, and writes how it ended to FOLDER/exit. The agent starts it;
        there is no reason to start it by hand.

        """
    let asked = CommandLine.arguments.dropFirst().first.map { $0 == "--help" || $0 == "-h" } ?? false
    writeAll(Array(usage.utf8), to: asked ? 1 : 2)
    exit(asked ? 0 : 2)
}

let folder = CommandLine.arguments[1]
guard unsafe chdir(folder) == 0 else { fail("cannot enter \(folder): error \(errno)") }
guard let text = readFile("shim.spec", limit: 1 << 20), let spec = ShimSpecification(parsing: text) else {
    fail("\(folder)/shim.spec cannot be read or is damaged")
}
// runc makes the mount points that an image lacks under this umask, and the container's users must be able to enter them. The
// container's folder is closed to all but root, so nothing of the shim's own is opened by it.
umask(0o022)
var shim = Shim(spec)
shim.run()
