import Containers
import Testing

struct HeldFramesTests {
    private func frame(_ number: Int, length: Int = 100) -> [UInt8] {
        [UInt8](repeating: UInt8(truncatingIfNeeded: number), count: length)
    }

    @Test func `What does not fit takes the place of the oldest, in order and counted`() {
        var ring = FrameRing(limit: 1000)
        for number in 0..<5000 { ring.append(frame(number)) }
        #expect(ring.byteCount == 1000)
        let held = ring.take()
        #expect(held.frames == (4990..<5000).map { frame($0) })
        #expect(held.droppedCount == 4990)
        #expect(ring.take().isEmpty && ring.byteCount == 0)
        ring.append(frame(1, length: 1001))
        ring.append(frame(2, length: 1000))
        #expect(ring.take().frames == [frame(2, length: 1000)])
    }
}
