internal import CLinux
internal import Glibc

/// Tells when the node may not run this container any more, because its agent has not extended the lease.
///
/// The agent may be stopped, killed or stuck at that moment, so everything is known from a file that it wrote before. What the lease
/// is measured with goes on while the machine is suspended, and so does the timer: a machine that slept too long wakes up here.
struct Fence {
    /// The longest that a change of the lease stays unseen, in nanoseconds.
    private static let interval: Int64 = 5_000_000_000

    /// nil when the container has no lease.
    private let path: String?
    private let boot: String
    /// When the lease ends, in nanoseconds of CLOCK_BOOTTIME.
    private var end = Int64.max
    /// When the file is read next; at once.
    private var nextLook: Int64 = 0
    private var isClosed = false
    /// Becomes readable when ``hasClosed()`` should be asked; -1 when there is nothing to wait for, or no timer to be had.
    private(set) var timer: Int32 = -1

    init(lease path: String?) {
        self.path = path
        boot = path == nil ? "" : bootID()
        if path != nil { timer = godwit_boot_timer() }
    }

    /// The longest wait for anything else, in milliseconds; -1 is for ever, since the timer ends the wait.
    var timeout: Int32 { path == nil || isClosed || timer >= 0 ? -1 : 500 }

    /// Whether the lease has ended; once it has, it stays so, and whoever asked must see to the end of the container.
    mutating func hasClosed() -> Bool {
        guard let path, !isClosed else { return isClosed }
        let now = bootNanoseconds()
        if now < nextLook { return false }
        read(path)
        if now >= end {
            isClosed = true
            if timer >= 0 { close(timer) }
            timer = -1
            return true
        }
        nextLook = min(end, now + Self.interval)
        if timer >= 0 { godwit_set_boot_timer(timer, nextLook) }
        return false
    }

    /// Takes what the file says; what is missing or not understood changes nothing.
    private mutating func read(_ path: String) {
        guard let text = readFile(path, limit: 256) else { return }
        let words = text.split { $0 <= 32 }.map { String(decoding: $0, as: UTF8.self) }
        if words == ["none"] { end = .max }
        guard words.count == 4, words[0] == "boot", words[2] == "until", let moment = Int64(words[3]) else { return }
        // This container began in this boot, so what is left of another was not meant for it.
        end = words[1] == boot ? moment : 0
    }
}
