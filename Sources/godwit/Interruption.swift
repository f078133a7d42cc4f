import Glibc
import Synchronization

/// What Ctrl-C and SIGTERM do: they end the process at once with status 128 + number, after a last word on standard error.
enum Interruption {
    /// The last word: what restores the terminal, and what goes on without the command.
    static let note = Note()

    /// A text that the signals' thread reads.
    final class Note: Sendable {
        private let text = Mutex("")
        func set(_ text: String) { self.text.withLock { $0 = text } }
        var bytes: [UInt8] { text.withLock { Array($0.utf8) } }
    }

    /// Takes the signals over; to be called before any other thread exists, because threads inherit what is blocked.
    ///
    /// A thread that waits for the signals may do anything, unlike a signal handler.
    static func prepare() {
        var signals = sigset_t()
        unsafe sigemptyset(&signals)
        // Who started this in the background may have told it to ignore Ctrl-C; that is kept.
        for number in [SIGINT, SIGTERM] where !isIgnored(number) { unsafe sigaddset(&signals, number) }
        unsafe pthread_sigmask(SIG_BLOCK, &signals, nil)
        var handle = pthread_t()
        _ = unsafe pthread_create(
            &handle,
            nil,
            { _ in
                var waited = sigset_t()
                unsafe pthread_sigmask(SIG_BLOCK, nil, &waited)
                var number: Int32 = 0
                unsafe sigwait(&waited, &number)
                _ = File.write(Interruption.note.bytes, to: STDERR_FILENO)
                _exit(128 + number)
            },
            nil
        )
    }

    private static func isIgnored(_ number: Int32) -> Bool {
        var current = sigaction()
        guard unsafe sigaction(number, nil, &current) == 0 else { return false }
        // SIG_IGN is the address 1, which Swift cannot compare as a function.
        return unsafe unsafeBitCast(current.__sigaction_handler.sa_handler, to: Int.self) == 1
    }
}
