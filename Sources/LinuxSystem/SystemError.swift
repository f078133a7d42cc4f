internal import CLinux
internal import Glibc

/// A system call that failed: what was tried, on what, and why not.
///
/// `description` is a sentence for an operator, with a remedy where the error number suggests one.
package struct SystemError: Error, Equatable, Sendable, CustomStringConvertible {
    /// What was tried, as a verb phrase: `open`, `write 150000 to`, `mount overlay on`.
    package var operation: String
    /// The file, folder or object it was tried on; may be empty.
    package var path: String
    /// The error number (`errno`).
    package var code: Int32
    /// What the operator can do, when the caller knows better than the error number does.
    package var remedy: String?

    /// Describes a failure whose error number is already known.
    package init(_ operation: String, _ path: String, code: Int32, remedy: String? = nil) {
        self.operation = operation
        self.path = path
        self.code = code
        self.remedy = remedy
    }

    /// Takes the error number of the system call that has just failed on this thread.
    package static func last(_ operation: String, _ path: String) -> SystemError {
        SystemError(operation, path, code: errno)
    }

    /// The C library's text for the error number: `No such file or directory`.
    package var reason: String { Self.text(of: code) }

    /// The symbol of the error number: `ENOENT`, or the number itself.
    package var symbol: String {
        guard let name = unsafe godwit_error_name(code) else { return String(code) }
        return unsafe String(cString: name)
    }

    package var description: String {
        let place = path.isEmpty ? "" : " \(path)"
        let advice = (remedy ?? Self.advice(for: code)).map { " \($0)" } ?? ""
        return "Cannot \(operation)\(place): \(reason) (\(symbol)).\(advice)"
    }

    /// Whether the thing it was tried on does not exist, or is a cgroup or process that has ended.
    package var isAbsent: Bool { code == ENOENT || code == ENODEV || code == ESRCH }

    /// The C library's text for any error number.
    package static func text(of code: Int32) -> String {
        unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: 256) { buffer in
            guard let base = buffer.baseAddress else { return "error \(code)" }
            return unsafe String(cString: godwit_error_text(code, base, buffer.count))
        }
    }

    private static func advice(for code: Int32) -> String? {
        switch code {
        case EACCES, EPERM: "Run the agent as root or give it the capability that this needs."
        case ENOSPC, EDQUOT: "Free some space there or choose another folder in the configuration."
        case EROFS: "The file system is mounted read-only: remount it or choose another folder."
        case EMFILE: "The process has too many open files: raise LimitNOFILE of the service."
        case ENFILE: "The system has too many open files: raise fs.file-max."
        case ENOMEM: "The kernel has no memory left for this: stop something or add memory."
        default: nil
        }
    }
}

/// Repeats a system call that a signal interrupted, and turns -1 into an error.
func retrying<Result: SignedInteger>(
    _ operation: @autoclosure () -> String,
    _ path: @autoclosure () -> String,
    _ call: () -> Result
) throws(SystemError) -> Result {
    while true {
        let result = call()
        if result != -1 { return result }
        if errno != EINTR { throw SystemError.last(operation(), path()) }
    }
}
