import Glibc
import LinuxSystem
import Testing

@Suite struct ServiceNotifierTests {
    /// A datagram socket as systemd has one.
    private func listen(_ path: String) throws -> OwnedDescriptor {
        let socket = OwnedDescriptor(owning: Glibc.socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue), 0))
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        var name = Array(path.utf8)
        if name[0] == UInt8(ascii: "@") { name[0] = 0 }
        unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: name) }
        let length = socklen_t(2 + name.count)
        let failure = unsafe withUnsafePointer(to: &address) {
            unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { unsafe bind(socket.rawValue, $0, length) }
        }
        try #require(failure == 0)
        return socket
    }

    @Test func `messages arrive, at a path and at an abstract address`() throws {
        let folder = try TemporaryFolder()
        for address in [folder("notify"), "@godwit-test-\(getpid())"] {
            let socket = try listen(address)
            let notifier = try #require(ServiceNotifier(socket: address))
            try notifier.send(.ready(status: "3 jobs\nrunning"))
            let ready = try socket.read(upTo: 200)
            #expect(ready == Array("READY=1\nSTATUS=3 jobs running".utf8))
            try notifier.send(.watchdog)
            let alive = try socket.read(upTo: 200)
            #expect(alive == Array("WATCHDOG=1".utf8))
        }
    }

    @Test func `says what sd_notify(3) defines`() {
        #expect(ServiceNotifier.text(of: .stopping) == "STOPPING=1")
        #expect(ServiceNotifier.text(of: .reloading).hasPrefix("RELOADING=1\nMONOTONIC_USEC="))
        #expect(ServiceNotifier.text(of: .status("x")) == "STATUS=x")
        #expect(ServiceNotifier.text(of: .mainProcess(7)) == "MAINPID=7")
    }

    @Test func `without a service manager there is no notifier`() {
        #expect(ServiceNotifier(socket: nil) == nil)
        #expect(ServiceNotifier(socket: "") == nil)
        #expect(ServiceNotifier(socket: "relative") == nil)
        #expect(ServiceNotifier(socket: "/" + String(repeating: "x", count: 200)) == nil)
    }

    @Test func `the watchdog is fed twice as often as it asks, if it asks this process`() {
        func interval(_ time: String?, _ process: String?) -> Duration? {
            ServiceNotifier(socket: "/s", watchdogMicroseconds: time, watchdogProcess: process)?.watchdogInterval
        }
        #expect(interval("20000000", nil) == .seconds(10))
        #expect(interval("20000000", String(getpid())) == .seconds(10))
        #expect(interval("20000000", "1") == nil)
        #expect(interval(nil, nil) == nil)
        #expect(interval("soon", nil) == nil)
    }

    @Test func `a manager that is gone is an error with the address`() throws {
        let notifier = try #require(ServiceNotifier(socket: "/absent/socket"))
        let error = #expect(throws: SystemError.self) { try notifier.send(.watchdog) }
        #expect(error?.path == "/absent/socket")
    }
}
