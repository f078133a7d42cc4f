/// The parts of the OCI runtime specification, version 1.0.2, that are written here and read again at a restore.
struct RuntimeSpecification: Codable, Equatable {
    struct Process: Codable, Equatable {
        struct User: Codable, Equatable {
            var uid: UInt32
            var gid: UInt32
            var additionalGids: [UInt32]?
        }
        struct Capabilities: Codable, Equatable {
            var bounding: [String]
            var effective: [String]
            var permitted: [String]
            var inheritable: [String]
            var ambient: [String]
        }
        var terminal = false
        var user: User
        var args: [String]
        var env: [String]
        var cwd: String
        var capabilities: Capabilities
        var noNewPrivileges = true
    }

    struct Root: Codable, Equatable {
        var path: String
        var readonly = false
    }

    struct Mount: Codable, Equatable {
        var destination: String
        var type: String
        var source: String
        var options: [String]
    }

    struct Hook: Codable, Equatable {
        var path: String
        var args: [String]?
        var env: [String]?
        var timeout: Int?
    }

    struct Hooks: Codable, Equatable {
        var prestart: [Hook]?
        var createRuntime: [Hook]?
        var createContainer: [Hook]?
        var startContainer: [Hook]?
        var poststart: [Hook]?
        var poststop: [Hook]?
    }

    struct Device: Codable, Equatable {
        var path: String
        var type: String
        var major: Int64
        var minor: Int64
        var fileMode: UInt32?
        var uid: UInt32?
        var gid: UInt32?
    }

    struct DeviceRule: Codable, Equatable {
        var allow: Bool
        var type: String?
        var major: Int64?
        var minor: Int64?
        var access: String
    }

    struct Resources: Codable, Equatable {
        struct Memory: Codable, Equatable { var limit: Int64? }
        struct CPU: Codable, Equatable {
            var shares: UInt64?
            var quota: Int64?
            var period: UInt64?
        }
        struct Pids: Codable, Equatable { var limit: Int64 }
        var devices: [DeviceRule]
        var memory: Memory?
        var cpu: CPU?
        var pids: Pids?
    }

    struct Namespace: Codable, Equatable {
        var type: String
        /// One that exists; nil makes a new one.
        var path: String?
    }

    struct Linux: Codable, Equatable {
        var namespaces: [Namespace]
        var cgroupsPath: String
        var resources: Resources
        var devices: [Device]?
        var seccomp: SeccompProfile?
        var maskedPaths: [String]
        var readonlyPaths: [String]
    }

    var ociVersion = "1.0.2"
    var process: Process
    var root: Root
    var hostname: String
    var mounts: [Mount]
    var hooks: Hooks?
    var annotations: [String: String]?
    var linux: Linux
}

/// Which system calls a container may use, as runc takes it.
///
/// Everything is allowed but what is named. An allow-list as other engines ship it must be kept in step with every kernel, and what it
/// adds over this list is already withheld by the missing capabilities. What CRIU cannot dump is answered with ENOSYS, so that a
/// runtime falls back to what CRIU can (libuv, Java and tokio do for io_uring).
struct SeccompProfile: Codable, Equatable {
    struct Argument: Codable, Equatable {
        var index: Int
        var value: UInt64
        var valueTwo: UInt64
        var op: String
    }
    struct Rule: Codable, Equatable {
        var names: [String]
        var action = "SCMP_ACT_ERRNO"
        var errnoRet: UInt32
        var args: [Argument]?
    }
    var defaultAction = "SCMP_ACT_ALLOW"
    var architectures: [String]
    var syscalls: [Rule]

    static let standard: SeccompProfile = {
        let (notPermitted, notImplemented): (UInt32, UInt32) = (1, 38)
        let newUserNamespace = Argument(index: 0, value: 0x1000_0000, valueTwo: 0x1000_0000, op: "SCMP_CMP_MASKED_EQ")
        return SeccompProfile(
            architectures: architectures,
            syscalls: [
                Rule(names: notDumpable, errnoRet: notImplemented),
                // Its flags lie in memory, where a filter cannot look; the C library falls back to clone.
                Rule(names: ["clone3"], errnoRet: notImplemented),
                Rule(names: dangerous, errnoRet: notPermitted),
                Rule(names: ["clone"], errnoRet: notPermitted, args: [newUserNamespace]),
            ]
        )
    }()

    private static var architectures: [String] {
        #if arch(x86_64)
        ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]
        #elseif arch(arm64)
        ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]
        #elseif arch(powerpc64le)
        ["SCMP_ARCH_PPC64LE"]
        #elseif arch(s390x)
        ["SCMP_ARCH_S390X"]
        #else
        []
        #endif
    }

    private static let notDumpable = ["io_uring_setup", "io_uring_enter", "io_uring_register", "memfd_secret"]

    /// What changes the node, reaches beyond the container, or opens kernel code with a history of flaws.
    private static let dangerous = [
        "acct", "add_key", "bpf", "clock_adjtime", "clock_settime", "create_module", "delete_module", "fanotify_init",
        "finit_module", "fsconfig", "fsmount", "fsopen", "fspick", "get_kernel_syms", "init_module", "ioperm", "iopl",
        "kexec_file_load", "kexec_load", "keyctl", "lookup_dcookie", "mount", "mount_setattr", "move_mount",
        "name_to_handle_at", "nfsservctl", "open_by_handle_at", "open_tree", "perf_event_open", "pivot_root",
        "query_module",
        "quotactl", "quotactl_fd", "reboot", "request_key", "setns", "settimeofday", "swapoff", "swapon", "sysfs",
        "syslog",
        "umount", "umount2", "unshare", "uselib", "userfaultfd", "ustat", "vhangup", "vm86", "vm86old",
    ]
}
