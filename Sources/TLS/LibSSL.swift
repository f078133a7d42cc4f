import COpenSSL
import CShims

/// Prepares libssl once per process.
enum LibSSL {
    /// Reading this does the work, at most once.
    ///
    /// `NO_ATEXIT`: without it a process that exits while another thread is inside libssl crashes now and then. `NO_LOAD_CONFIG`: the
    /// machine's openssl.cnf could loosen what `TLSContext` demands, and reading it costs a fifth of the CLI's start.
    static let isReady: Bool = {
        let options = UInt64(OPENSSL_INIT_NO_ATEXIT) | UInt64(OPENSSL_INIT_NO_LOAD_CONFIG)
        return OPENSSL_init_crypto(options, nil) == 1 && OPENSSL_init_ssl(options, nil) == 1
            && godwit_window_setup() == 1
    }()

    /// Prepares the library and empties this thread's error queue, so that the next error is our own.
    static func enter() {
        precondition(isReady, "libssl cannot be initialised: the process has no memory, or the library is damaged")
        ERR_clear_error()
    }
}
