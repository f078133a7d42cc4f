/// Frames that arrived for a container while it stood still, in the order in which they came.
package struct HeldFrames: Sendable, Equatable {
    /// With the headers of their link.
    package var frames: [[UInt8]] = []
    /// Older ones that had to be dropped since the last time, because there was no room.
    package var droppedCount = 0

    /// None.
    package init() {}

    /// Whether nothing came.
    package var isEmpty: Bool { frames.isEmpty && droppedCount == 0 }

    /// How long a frame can be: from a header of Ethernet alone to what a TAP device gives at most.
    package static let lengths = 14...65_552
}

/// Frames in as much memory as there is for them: what comes when that is full takes the place of the oldest.
package struct FrameRing: Sendable {
    /// Bytes of all frames together.
    package let limit: Int
    private var frames: [[UInt8]] = []
    /// Where the oldest is; what is before it has gone.
    private var first = 0
    /// Of the frames that are there.
    package private(set) var byteCount = 0
    private var droppedCount = 0

    /// Holds nothing yet.
    package init(limit: Int) { self.limit = limit }

    /// Puts a frame behind the others, and drops as many of the oldest as it takes; one that is larger than everything is dropped itself.
    package mutating func append(_ frame: [UInt8]) {
        guard frame.count <= limit else {
            droppedCount += 1
            return
        }
        while byteCount + frame.count > limit {
            byteCount -= frames[first].count
            frames[first] = []
            first += 1
            droppedCount += 1
        }
        if first > 1024, first > frames.count / 2 {
            frames.removeFirst(first)
            first = 0
        }
        frames.append(frame)
        byteCount += frame.count
    }

    /// Everything that is there, which is gone from here then.
    package mutating func take() -> HeldFrames {
        var held = HeldFrames()
        held.frames = Array(frames[first...])
        held.droppedCount = droppedCount
        (frames, first, byteCount, droppedCount) = ([], 0, 0, 0)
        return held
    }
}
