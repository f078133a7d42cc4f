internal import Glibc

/// A thread of the operating system, for calls that block for long.
package enum SystemThread {
    private final class Body {
        let name: String
        let run: @Sendable () -> Void
        init(name: String, run: @escaping @Sendable () -> Void) { (self.name, self.run) = (name, run) }
    }

    /// Starts a detached thread.
    package static func start(name: String, _ body: @escaping @Sendable () -> Void) throws(SystemError) {
        let box = unsafe Unmanaged.passRetained(Body(name: name, run: body))
        var thread = pthread_t()
        let failure = unsafe pthread_create(
            &thread,
            nil,
            { argument in
                guard let argument = unsafe argument else { return nil }
                let body = unsafe Unmanaged<Body>.fromOpaque(argument).takeRetainedValue()
                ProcessControl.nameThread(body.name)
                body.run()
                return nil
            },
            box.toOpaque()
        )
        guard failure == 0 else {
            unsafe box.release()
            throw SystemError("start thread", name, code: failure)
        }
        pthread_detach(thread)
    }
}
