internal import CLinux
internal import Glibc

/// A TAP device: what is sent to it can be read here, and it is gone when this is closed, however that happens.
package struct TapDevice: ~Copyable, Sendable {
    /// Frames with the header of their link, each at most this long: segments that the kernel joined come one by one.
    package static let frameLimit = 65_552

    private let device: OwnedDescriptor

    /// Makes the device in the network namespace of the calling thread.
    package init(_ name: String) throws(SystemError) {
        device = OwnedDescriptor(
            owning: try retrying("make the TAP device", name) { unsafe godwit_tap(name) }
        )
    }

    /// The descriptor, for poll(2).
    package var rawValue: Int32 { device.rawValue }

    /// The next frame that has arrived; nil when there is none.
    package borrowing func read(_ buffer: inout [UInt8]) throws(SystemError) -> [UInt8]? {
        let number = device.rawValue
        let count = unsafe buffer.withUnsafeMutableBytes { bytes in
            while true {
                let count = unsafe Glibc.read(number, bytes.baseAddress, bytes.count)
                if count >= 0 || errno != EINTR { return count }
            }
        }
        if count >= 0 { return Array(buffer[..<count]) }
        if errno == EAGAIN { return nil }
        throw SystemError.last("read from a TAP device", "")
    }
}

/// Sends frames as they are through one interface.
package struct FrameSocket: ~Copyable, Sendable {
    private let socket: OwnedDescriptor
    private let interface: String

    /// Binds to an interface of the calling thread's network namespace; receives nothing.
    package init(_ interface: String) throws(SystemError) {
        socket = OwnedDescriptor(
            owning: try retrying("send frames through", interface) { unsafe godwit_frame_socket(interface) }
        )
        self.interface = interface
    }

    /// Sends one frame, header and all; waits while the interface takes none.
    package borrowing func send(_ frame: [UInt8]) throws(SystemError) {
        let number = socket.rawValue
        _ = try retrying("send a frame through", interface) {
            unsafe frame.withUnsafeBytes { unsafe Glibc.send(number, $0.baseAddress, $0.count, 0) }
        }
    }
}
