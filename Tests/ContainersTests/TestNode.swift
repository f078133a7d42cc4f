import ClusterModel
import Containers
import Glibc
import LinuxSystem

/// A node of its own for one test: folders, a cgroup and a runtime, all of which are gone afterwards.
struct TestNode {
    let folder: String
    let slice: CgroupSlice
    let configuration: ContainersConfiguration
    let images: ImageCache
    let runtime: ContainerRuntime
    /// The root file system that holds `/probe`.
    let image: PreparedImage

    /// Makes a node, runs the test and cleans up whatever it left.
    static func run(
        logFileLimit: ByteCount = .mebibytes(1),
        bridge: ContainerBridge? = nil,
        _ body: (TestNode) async throws -> Void
    ) async throws {
        guard getuid() == 0 else { throw Missing("Containers can only be tried as root: run the tests with sudo.") }
        let root = try await ProbeProgram.rootFolder.value
        let facts = await NodeFacts.shared.value
        guard facts.runc != nil else { throw Missing("runc is not installed: apt-get install runc") }
        guard facts.criu?.works == true else {
            throw Missing(
                "No CRIU works here (\(facts.criu?.complaint ?? "none found")): run agents/packaging/install-criu"
            )
        }
        let name = "godwit-test-\(getpid())-\(UInt32.random(in: 0..<UInt32.max))"
        let folder = "/tmp/\(name)"
        try FileSystem.createFolder(folder)
        var configuration = ContainersConfiguration(stateFolder: "\(folder)/state", runtimeFolder: "\(folder)/run")
        configuration.logFileLimit = logFileLimit
        configuration.logFileCount = 3
        configuration.bridge = bridge
        let slice = try CgroupSlice(in: try CgroupHierarchy.detect(), path: "/\(name)")
        try slice.setUp()
        let images = try ImageCache(configuration)
        let node = TestNode(
            folder: folder,
            slice: slice,
            configuration: configuration,
            images: images,
            runtime: try ContainerRuntime(configuration, slice: slice, criu: facts.criu),
            image: try await images.prepare(.rootFolder(path: root))
        )
        do {
            try await body(node)
            await node.cleanUp()
        } catch {
            await node.cleanUp()
            throw error
        }
    }

    func request(_ id: String, _ command: [String], _ change: (inout StartRequest) -> Void = { _ in }) -> StartRequest {
        var request = StartRequest(id: ContainerID(rawValue: id), image: image)
        request.command = command
        change(&request)
        return request
    }

    /// Starts `/probe` with these arguments, waits for its end and returns that with its output.
    func runToEnd(
        _ id: String,
        _ arguments: [String],
        _ change: (inout StartRequest) -> Void = { _ in }
    ) async throws -> (exit: Containers.ContainerExit, output: [String]) {
        let running = try await runtime.start(request(id, ["/probe"] + arguments, change))
        let exit = try await runtime.exit(of: running.id)
        let lines = try runtime.logs(of: running.id).tail(10_000).lines
        try await runtime.remove(running.id)
        return (exit, lines.map(\.text))
    }

    /// Network namespaces of this node's containers.
    func namespaces() throws -> [String] {
        try FileSystem.list(NetworkNamespace.folder).filter { $0.hasPrefix(runtime.networkPrefix) }
    }

    /// A folder in memory for checkpoints.
    func memoryFolder() throws -> String {
        let folder =
            "/dev/shm/\(FileSystem.parent(of: self.folder) == "/tmp" ? String(self.folder.dropFirst(5)) : "godwit-test")"
        try FileSystem.createFolder(folder)
        return folder
    }

    /// Reads a container's output until a line satisfies `isWanted`.
    func line(
        of id: ContainerID,
        after position: LogPosition = .beginning,
        where isWanted: (String) -> Bool
    ) async throws -> String? {
        for await line in try runtime.logs(of: id).follow(from: position) where isWanted(line.text) { return line.text }
        return nil
    }

    private func cleanUp() async {
        for name in (try? FileSystem.list("\(folder)/state/containers")) ?? [] {
            try? await runtime.remove(ContainerID(rawValue: name))
        }
        for parent in (try? FileSystem.list("/sys/fs/cgroup")) ?? [] {
            let place = "/sys/fs/cgroup/\(parent)\(slice.path)"
            if FileSystem.exists(place) { unsafe rmdir(place) }
        }
        unsafe rmdir("/sys/fs/cgroup\(slice.path)")
        try? FileSystem.removeAll(folder)
        try? FileSystem.removeAll("/dev/shm/\(folder.dropFirst(5))")
    }
}

/// Why a test cannot be run on this machine.
struct Missing: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

enum NodeFacts {
    static let shared = Task { await NodeProbe().run().facts }
}

/// The program that the containers of these tests run, compiled once for this version of its source.
enum ProbeProgram {
    static let rootFolder = Task { () -> String in
        let hash = source.utf8.reduce(UInt64(5381)) { $0 &* 33 ^ UInt64($1) }
        let folder = "/tmp/godwit-containers-probe-\(String(hash, radix: 16))"
        if FileSystem.exists("\(folder)/probe") { return folder }
        let work = "\(folder).\(getpid())"
        try FileSystem.createFolder("\(work)/etc")
        try FileSystem.createFolder("\(work)/data")
        try FileSystem.writeAtomically(source, to: "\(work).c")
        try FileSystem.writeAtomically(
            "root:x:0:0::/root:/bin/sh\nann:x:1234:1235::/home/ann:/bin/sh\n",
            to: "\(work)/etc/passwd"
        )
        try FileSystem.writeAtomically("root:x:0:\nann:x:1235:\nusers:x:100:ann\n", to: "\(work)/etc/group")
        try FileSystem.writeAtomically("original\n", to: "\(work)/data/file")
        try FileSystem.writeAtomically("not a program", to: "\(work)/data/text", mode: 0o644)
        let result = try await ProcessRunner.run(
            ProgramCommand("cc", ["-static", "-O1", "-o", "\(work)/probe", "\(work).c"]),
            timeout: .seconds(60)
        )
        guard result.isSuccess else {
            throw Missing("The test program cannot be compiled (apt-get install gcc libc6-dev): \(result.complaint)")
        }
        try? FileSystem.removeAll("\(work).c")
        if !FileSystem.exists(folder) { try FileSystem.move(work, to: folder) }
        return folder
    }

    private static let source = #"""
        #define _GNU_SOURCE
        #include <arpa/inet.h>
        #include <errno.h>
        #include <fcntl.h>
        #include <grp.h>
        #include <netinet/in.h>
        #include <signal.h>
        #include <stdio.h>
        #include <stdlib.h>
        #include <string.h>
        #include <sys/socket.h>
        #include <sys/stat.h>
        #include <sys/syscall.h>
        #include <sys/un.h>
        #include <unistd.h>
        static void say(const char *text) { puts(text); fflush(stdout); }
        static void onterm(int number) { (void)number; say("terminating"); _exit(3); }
        int main(int count, char **arguments) {
            const char *what = count > 1 ? arguments[1] : "";
            long number = count > 2 ? atol(arguments[2]) : 0;
            if (!strcmp(what, "exit")) return (int)number;
            if (!strcmp(what, "abort")) abort();
            if (!strcmp(what, "print")) {
                for (long i = 0; i < number; i++) printf("line %ld\n", i);
                fputs("no line end", stderr);
                return 0;
            }
            if (!strcmp(what, "long")) {
                for (long i = 0; i < number; i++) putchar('x');
                putchar('\n');
                return 0;
            }
            if (!strcmp(what, "environment")) {
                extern char **environ;
                for (char **each = environ; *each; each++) puts(*each);
                char folder[256];
                printf("cwd %s\n", getcwd(folder, sizeof folder));
                gid_t groups[8];
                int n = getgroups(8, groups);
                printf("user %d %d", getuid(), getgid());
                for (int i = 0; i < n; i++) printf(" %d", groups[i]);
                char name[128];
                gethostname(name, sizeof name);
                printf("\nhost %s\npid %d\n", name, getpid());
                return 0;
            }
            if (!strcmp(what, "open")) {
                printf("user %d\n", getuid());
                for (int i = 2; i < count; i++)
                    printf("%s %s\n", arguments[i], open(arguments[i], O_RDONLY) < 0 ? strerror(errno) : "opens");
                return 0;
            }
            if (!strcmp(what, "memory")) {
                for (;;) {
                    char *block = malloc(1 << 20);
                    if (!block) return 9;
                    memset(block, 1, 1 << 20);
                }
            }
            if (!strcmp(what, "uring")) {
                long result = syscall(425, 8, 0);
                printf("io_uring %s\n", result < 0 ? strerror(errno) : "works");
                printf("unshare %s\n", unshare(0x10000000) < 0 ? strerror(errno) : "works");
                return 0;
            }
            if (!strcmp(what, "terminate")) {
                signal(SIGTERM, onterm);
                say("ready");
                for (;;) pause();
            }
            if (!strcmp(what, "stubborn")) {
                signal(SIGTERM, SIG_IGN);
                say("ready");
                for (;;) pause();
            }
            if (!strcmp(what, "count")) {
                /* Keeps a number in memory and writes it to a file; prints it every 10 ms. */
                long megabytes = number;
                char *block = megabytes ? malloc(megabytes << 20) : NULL;
                if (block) for (long i = 0; i < megabytes << 20; i += 64) *(long *)(block + i) = i * 2654435761u;
                int fd = open("/data/file", O_RDWR | O_APPEND);
                int gone = open("/data/gone", O_RDWR | O_CREAT, 0600);
                if (write(gone, "deleted but open", 16) != 16) return 8;
                unlink("/data/gone");
                for (long value = 0;; value++) {
                    char text[64];
                    snprintf(text, sizeof text, "count %ld\n", value);
                    if (write(fd, text, strlen(text)) < 0) return 7;
                    fputs(text, stdout);
                    fflush(stdout);
                    if (access("/data/stop", F_OK) == 0) {
                        char back[17] = "";
                        if (pread(gone, back, 16, 0) != 16) return 6;
                        say(back);
                        return 0;
                    }
                    usleep(10000);
                }
            }
            if (!strcmp(what, "remember")) {
                /* Fills memory, in two processes; counts; says once /data/verify is there whether all of it is as it was. */
                long words = number << 17;
                unsigned long *block = malloc(words * 8);
                for (long i = 0; i < words; i++) block[i] = i / 512 * 0x9E3779B97F4A7C15ul + i;
                const char *mine = fork() ? "/data/verify" : "/data/verify-child";
                if (mine[12]) for (long i = 0; i < words; i += 512) block[i]++;
                say("ready");
                for (long value = 0;; value++) {
                    if (!mine[12]) { printf("count %ld\n", value); fflush(stdout); }
                    if (access(mine, F_OK) == 0) {
                        long wrong = 0;
                        for (long i = 0; i < words; i++)
                            wrong += block[i] != i / 512 * 0x9E3779B97F4A7C15ul + i + (mine[12] && i % 512 == 0);
                        unlink(mine);
                        printf("%s %ld wrong\n", mine[12] ? "child" : "parent", wrong);
                        fflush(stdout);
                    }
                    if (!mine[12] && access("/data/stop", F_OK) == 0) return 7;
                    usleep(10000);
                }
            }
            if (!strcmp(what, "tcp")) {
                int listening = socket(AF_INET, SOCK_STREAM, 0);
                struct sockaddr_in address = {.sin_family = AF_INET};
                socklen_t size = sizeof address;
                address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
                bind(listening, (struct sockaddr *)&address, size);
                listen(listening, 1);
                getsockname(listening, (struct sockaddr *)&address, &size);
                int out = socket(AF_INET, SOCK_STREAM, 0);
                connect(out, (struct sockaddr *)&address, size);
                int in = accept(listening, NULL, NULL);
                (void)in;
                say("ready");
                for (;;) pause();
            }
            if (!strcmp(what, "echo")) {
                /* Sends back what comes over one connection, and ends with it. */
                int listening = socket(AF_INET, SOCK_STREAM, 0);
                struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(7000)};
                if (bind(listening, (struct sockaddr *)&address, sizeof address)) return 5;
                if (listen(listening, 1)) return 5;
                say("ready");
                int in = accept(listening, NULL, NULL);
                static char bytes[65536];
                for (;;) {
                    ssize_t count = read(in, bytes, sizeof bytes);
                    if (count < 0) { perror("read"); return 6; }
                    if (count == 0) return 0;
                    for (ssize_t done = 0; done < count;) {
                        ssize_t sent = write(in, bytes + done, count - done);
                        if (sent < 0) { perror("write"); return 7; }
                        done += sent;
                    }
                }
            }
            if (!strcmp(what, "unix")) {
                int out = socket(AF_UNIX, SOCK_STREAM, 0);
                struct sockaddr_un address = {.sun_family = AF_UNIX};
                strncpy(address.sun_path, arguments[2], sizeof address.sun_path - 1);
                if (connect(out, (struct sockaddr *)&address, sizeof address) < 0) { perror("connect"); return 5; }
                int pair[2];
                socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
                say("ready");
                for (;;) pause();
            }
            if (!strcmp(what, "pair")) {
                int pair[2];
                socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
                say("ready");
                for (;;) pause();
            }
            if (!strcmp(what, "remapped")) {
                /* A file whose name is gone while another remains: CRIU refuses it without --link-remap. */
                int fd = open("/data/one", O_RDWR | O_CREAT, 0600);
                if (fd < 0 || link("/data/one", "/data/two") || unlink("/data/one")) return 4;
                say("ready");
                for (;;) pause();
            }
            say("ready");
            for (;;) pause();
        }
        """#
}
