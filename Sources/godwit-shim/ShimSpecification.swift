/// What the agent asks of one shim: the lines `key value` of `shim.spec`, each value to the end of its line.
struct ShimSpecification {
    /// The program to run and its arguments, the program first.
    var command: [String] = []
    /// `PATH` for runc, which finds CRIU there.
    var searchPath = "/usr/sbin:/usr/bin:/sbin:/bin"
    /// Where runc writes the process number of the container's first process.
    var processFile = "init.pid"
    /// The most one log file may hold, in bytes.
    var logFileBytes = 16 << 20
    /// How many log files are kept.
    var logFileCount = 4
    /// The cgroup file that counts `oom_kill`, if there is one.
    var memoryEvents: String?
    /// The file that says how long the container may run; nil means that there is no limit.
    var lease: String?
    /// The program that fetches memory after the container runs, and its arguments; empty when all of it is there from the beginning.
    ///
    /// It gets the stream to whoever has the pages as descriptor 4, and says on descriptor 5 that it is ready.
    var pagesCommand: [String] = []
    /// The file that lists the container's processes (cgroup.procs).
    var processes: String?

    /// Reads the file's text; nil when a line is not understood, since guessing would start the wrong thing.
    init?(parsing text: [UInt8]) {
        for line in text.split(separator: UInt8(ascii: "\n")) {
            guard let blank = line.firstIndex(of: UInt8(ascii: " ")) else { return nil }
            let value = String(decoding: line[line.index(after: blank)...], as: UTF8.self)
            switch String(decoding: line[..<blank], as: UTF8.self) {
            case "command": command.append(value)
            case "search-path": searchPath = value
            case "process-file": processFile = value
            case "log-file-bytes": logFileBytes = max(4096, Int(value) ?? logFileBytes)
            case "log-file-count": logFileCount = max(1, Int(value) ?? logFileCount)
            case "memory-events": memoryEvents = value
            case "lease": lease = value
            case "pages-command": pagesCommand.append(value)
            case "processes": processes = value
            default: return nil
            }
        }
        if command.isEmpty { return nil }
    }
}
