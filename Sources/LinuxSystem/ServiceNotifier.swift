internal import CLinux
internal import Glibc

/// Tells the service manager how the agent is doing: sd_notify(3), over the socket in `NOTIFY_SOCKET`.
package struct ServiceNotifier: Sendable {
    /// A change worth telling.
    package enum Message: Sendable, Equatable {
        /// Start-up is complete; the sentence shows in `systemctl status`.
        case ready(status: String)
        /// Configuration is being read again; `ready` ends it.
        case reloading
        case stopping
        /// Still alive; due before every ``ServiceNotifier/watchdogInterval``.
        case watchdog
        case status(String)
        /// The process to watch from now on: for a program that hands over to another.
        case mainProcess(Int32)
    }

    private let socketPath: String
    /// How often the manager wants to hear `watchdog`, half of what it allows; nil when it does not watch this process.
    package let watchdogInterval: Duration?

    /// Takes the address from the environment; nil when no service manager listens.
    package init?() {
        self.init(
            socket: ProcessRunner.environmentVariable("NOTIFY_SOCKET"),
            watchdogMicroseconds: ProcessRunner.environmentVariable("WATCHDOG_USEC"),
            watchdogProcess: ProcessRunner.environmentVariable("WATCHDOG_PID")
        )
    }

    /// Takes the values of NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID; nil without a usable address.
    package init?(socket: String?, watchdogMicroseconds: String? = nil, watchdogProcess: String? = nil) {
        guard let socket, socket.hasPrefix("/") || socket.hasPrefix("@"), (2...107).contains(socket.utf8.count)
        else { return nil }
        socketPath = socket
        let isForUs = watchdogProcess.map { Int32($0) == getpid() } ?? true
        watchdogInterval =
            watchdogMicroseconds.flatMap { Int64($0) }.flatMap { $0 > 0 && isForUs ? .microseconds($0 / 2) : nil }
    }

    /// Sends one message.
    package func send(_ message: Message) throws(SystemError) {
        try send(text: Self.text(of: message))
    }

    /// The assignments that sd_notify(3) defines for a message.
    package static func text(of message: Message) -> String {
        switch message {
        case .ready(let status): "READY=1\nSTATUS=\(oneLine(status))"
        case .reloading:
            // systemd 253 wants the moment as well for Type=notify-reload (sd_notify(3)).
            "RELOADING=1\nMONOTONIC_USEC=\(MonotonicClock.nanoseconds() / 1000)"
        case .stopping: "STOPPING=1"
        case .watchdog: "WATCHDOG=1"
        case .status(let text): "STATUS=\(oneLine(text))"
        case .mainProcess(let pid): "MAINPID=\(pid)"
        }
    }

    /// A line end would begin another assignment.
    private static func oneLine(_ text: String) -> String {
        String(text.map { $0.isNewline ? " " : $0 })
    }

    private func send(text: String) throws(SystemError) {
        let socket = OwnedDescriptor(
            owning: try retrying("make a socket", "") {
                Glibc.socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
            }
        )
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        var path = Array(socketPath.utf8)
        // An abstract address begins with a zero byte, which the variable spells as @ (unix(7)).
        if path[0] == UInt8(ascii: "@") { path[0] = 0 }
        unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: path) }
        let length = socklen_t(2 + path.count)
        let number = socket.rawValue
        let bytes = Array(text.utf8)
        _ = try retrying("notify the service manager at", socketPath) {
            unsafe withUnsafePointer(to: &address) { address in
                unsafe address.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                    unsafe bytes.withUnsafeBytes { message in
                        unsafe sendto(
                            number,
                            message.baseAddress,
                            message.count,
                            Int32(MSG_NOSIGNAL),
                            address,
                            length
                        )
                    }
                }
            }
        }
    }
}
