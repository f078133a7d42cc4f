internal import ClusterModel
internal import Glibc
internal import LinuxSystem
internal import Synchronization

/// Takes what arrives for one container while it stands still, and gives it to the container afterwards.
///
/// The bridge decides for each frame where it goes: to the container's interface or to a TAP device of ours. So no frame is lost or taken
/// twice when that is switched, and what the kernel joined into large segments comes as it would over a wire. The device is gone with the process that opened
/// it: an agent that is killed leaves a bridge that finds the container's interface again.
final class NetworkHold: Sendable {
    private let tap: TapDevice
    private let door: FrameSocket
    private let stop: OwnedDescriptor
    private let hardwareAddress: [UInt8]
    private let ring: Mutex<FrameRing>
    private let reader = Mutex(Reader())

    private struct Reader {
        var hasEnded = false
        var waiting: [CheckedContinuation<Void, Never>] = []
    }

    /// Makes the TAP device, which takes nothing until the bridge is told to send something to it; to be called in the bridge's network
    /// namespace.
    init(_ link: ContainerLink, hardwareAddress: [UInt8], limit: ByteCount) throws(SystemError) {
        tap = try TapDevice(link.hold)
        door = try FrameSocket(link.host)
        stop = try OwnedDescriptor.event()
        self.hardwareAddress = hardwareAddress
        ring = Mutex(FrameRing(limit: Int(limit.rawValue)))
    }

    /// Begins to take what the device gets.
    func begin() throws(SystemError) {
        try SystemThread.start(name: "godwit-hold") { [self] in
            takeIn()
            let waiting = reader.withLock { reader in
                reader.hasEnded = true
                defer { reader.waiting = [] }
                return reader.waiting
            }
            for continuation in waiting { continuation.resume() }
        }
    }

    private func takeIn() {
        var buffer = [UInt8](repeating: 0, count: TapDevice.frameLimit)
        while true {
            var queries = [
                pollfd(fd: tap.rawValue, events: Int16(POLLIN), revents: 0),
                pollfd(fd: stop.rawValue, events: Int16(POLLIN), revents: 0),
            ]
            let ready = unsafe poll(&queries, 2, -1)
            if ready < 0, errno != EINTR { return }
            // What came before the end was asked for is taken before it ends.
            let isLast = queries[1].revents != 0
            do throws(SystemError) {
                while let frame = try tap.read(&buffer) {
                    // Broadcasts reach the container as well.
                    guard frame.count >= HeldFrames.lengths.lowerBound, frame.starts(with: hardwareAddress) else {
                        continue
                    }
                    ring.withLock { $0.append(frame) }
                }
            } catch { return }
            if isLast { return }
        }
    }

    /// What was held up to now, which is the caller's then.
    func take() -> HeldFrames { ring.withLock { $0.take() } }

    /// Gives frames to the container; one that its interface does not take is as good as lost on the wire.
    func give(_ held: HeldFrames) {
        for frame in held.frames { try? door.send(frame) }
    }

    /// Gives the container what was held until nothing is left, and goes on holding.
    func replay() -> HeldCount {
        var count = HeldCount()
        while true {
            let held = take()
            count.add(held)
            if held.frames.isEmpty { return count }
            give(held)
        }
    }

    /// Ends taking, after the bridge was told to send nothing more, and returns the rest.
    func end() async -> HeldFrames {
        try? stop.write([1, 0, 0, 0, 0, 0, 0, 0])
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            let hasEnded = reader.withLock { reader in
                if !reader.hasEnded { reader.waiting.append(continuation) }
                return reader.hasEnded
            }
            if hasEnded { continuation.resume() }
        }
        return take()
    }
}

/// How much was held for a container while it stood still.
package struct HeldCount: Sendable, Equatable {
    /// Frames that it got afterwards, or that were handed over.
    package var frames = 0
    /// Their bytes.
    package var bytes = 0
    /// Frames that did not fit into the memory that there is for them.
    package var dropped = 0

    /// Nothing.
    package init() {}

    mutating func add(_ held: HeldFrames) {
        frames += held.frames.count
        bytes += held.frames.reduce(0) { $0 + $1.count }
        dropped += held.droppedCount
    }
}
