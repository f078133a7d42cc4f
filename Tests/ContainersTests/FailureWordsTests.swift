import ClusterModel
import Testing

@testable import Containers

@Suite struct FailureWordsTests {
    @Test func `CRIU's first errors are found and its noise is not`() {
        let log = """
            (00.000001) Version: 4.2
            (00.000002) Error (criu/rlimit.c:9): rlimit: Can't setup RLIMIT_NOFILE for self
            (00.091003) 31415 fdinfo 5: pos: 0
            (00.091004) Error (criu/sk-inet.c:191): inet: Connected TCP socket, consider using --tcp-established option.
            (00.091005) Error (criu/cr-dump.c:1781): Dump files (pid: 7) failed with -1
            """
        let errors = CRIULog.errors(in: log)
        #expect(errors.count == 2)
        #expect(CRIULog.explain(errors)?.reason == "the program has an established TCP connection.")
        #expect(CRIULog.explain(["Error (criu/x.c:1): something new"]) == nil)
    }

    @Test(
        arguments: [
            ("(0.1) Error (criu/files.c:9): Unknown shit 600 (anon_inode:[io_uring])", "io_uring"),
            ("(0.1) Error (criu/sk-unix.c:8): unix: Can't dump half of stream unix connection.", "Unix socket"),
            ("(0.1) Error (criu/files-reg.c:7): Can't dump ghost file /x of 2097152 size, increase limit", "deleted"),
            ("(0.1) Error (criu/files-ext.c:98): Can't dump file 5 of that type [20666] (chr 195:255)", "device"),
            ("(0.1) Error (criu/files-reg.c:2): File data/x has bad size 5 (expect 7)", "not as it was"),
        ])
    func `Each known cause has words of its own`(line: String, word: String) {
        #expect(CRIULog.explain([line])?.reason.contains(word) == true)
    }

    @Test func `runc's last error is found among its other lines`() {
        let log = """
            {"level":"warning","msg":"unable to get oom kill count","time":"2026-01-01T00:00:00Z"}
            {"level":"error","msg":"runc run failed: unable to start container process: exec: \\"/x\\": stat /x: no such file or directory","time":"2026-01-01T00:00:00Z"}
            """
        let message = RuntimeLog.lastError(in: log)
        #expect(message == "unable to start container process: exec: \"/x\": stat /x: no such file or directory")
        let request = StartRequest(
            id: ContainerID(rawValue: "a-1"),
            image: PreparedImage(key: ImageKey(rawValue: "folder-0"), rootFolder: "/")
        )
        #expect(RuntimeLog.explain(message ?? "", request).code == .programInvalid)
        #expect(RuntimeLog.lastError(in: "no json") == nil)
    }

    @Test func `Signals are known by their names`() {
        #expect(SignalName.number("SIGTERM") == 15)
        #expect(SignalName.number("quit") == 3)
        #expect(SignalName.number("SIGRTMIN+3") == 37)
        #expect(SignalName.number("9") == 9)
        #expect(SignalName.number("65") == nil)
        #expect(SignalName.number("SIGNOTHING") == nil)
    }

    @Test func `A container's name holds its job and incarnation`() {
        let id = ContainerID(job: .init(rawValue: "abcdefghijkl"), incarnation: .init(rawValue: 12))
        #expect(id.rawValue == "abcdefghijkl-12")
        #expect(id.parts?.job.rawValue == "abcdefghijkl")
        #expect(id.parts?.incarnation.rawValue == 12)
        #expect(ContainerID(rawValue: "nonumber").parts == nil)
        #expect(
            !ContainerID(rawValue: "../x").isSafe && !ContainerID(rawValue: "").isSafe
                && !ContainerID(rawValue: "-x").isSafe
        )
    }
}
