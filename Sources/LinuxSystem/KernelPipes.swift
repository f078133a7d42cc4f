internal import CLinux
internal import Glibc

/// How long the kernel lets pipes be.
package enum KernelPipes {
    private static let setting = "/proc/sys/fs/pipe-max-size"

    /// Sees to it that this process, and those that it starts, can make pipes of this length.
    ///
    /// With CAP_SYS_RESOURCE they can. Without it the kernel's bound for all processes (1 MiB unless told otherwise) is raised; it is never lowered.
    package static func allow(byteCount: Int) throws(SystemError) {
        let isAllowed = try OwnedDescriptor.pipe().take { (reading, writing) throws(SystemError) in
            godwit_set_pipe_size(writing.rawValue, Int32(clamping: byteCount)) >= 0
        }
        guard !isAllowed else { return }
        try FileSystem.writeValue("\(byteCount)", to: setting)
    }
}
