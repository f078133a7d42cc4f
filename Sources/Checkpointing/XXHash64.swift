/// The 64-bit xxHash: a checksum that finds accidents, not forgeries.
///
/// Written from its specification (Y. Collet, "xxHash fast digest algorithm", section XXH64). It runs at several times the speed of LZ4,
/// so that a checksum over every stored byte costs little beside compression.
package enum XXHash64 {
    private static let prime1: UInt64 = 0x9E37_79B1_85EB_CA87
    private static let prime2: UInt64 = 0xC2B2_AE3D_27D4_EB4F
    private static let prime3: UInt64 = 0x1656_67B1_9E37_79F9
    private static let prime4: UInt64 = 0x85EB_CA77_C2B2_AE63
    private static let prime5: UInt64 = 0x27D4_EB2F_1656_67C5

    /// The hash of these bytes.
    package static func hash(_ bytes: Span<UInt8>, seed: UInt64 = 0) -> UInt64 {
        unsafe bytes.withUnsafeBufferPointer { unsafe hash(UnsafeRawBufferPointer($0), seed: seed) }
    }

    /// The hash of these bytes, for callers that hold a buffer of a C library.
    package static func hash(_ bytes: UnsafeRawBufferPointer, seed: UInt64 = 0) -> UInt64 {
        guard let base = bytes.baseAddress, bytes.count > 0 else { return avalanche(seed &+ prime5) }
        let count = bytes.count
        var at = 0
        var state: UInt64
        if count >= 32 {
            var lane1 = seed &+ prime1 &+ prime2
            var lane2 = seed &+ prime2
            var lane3 = seed
            var lane4 = seed &- prime1
            let lastStripe = count - 32
            while at <= lastStripe {
                lane1 = unsafe round(lane1, word(base, at))
                lane2 = unsafe round(lane2, word(base, at &+ 8))
                lane3 = unsafe round(lane3, word(base, at &+ 16))
                lane4 = unsafe round(lane4, word(base, at &+ 24))
                at &+= 32
            }
            state = rotate(lane1, 1) &+ rotate(lane2, 7) &+ rotate(lane3, 12) &+ rotate(lane4, 18)
            state = merge(state, lane1)
            state = merge(state, lane2)
            state = merge(state, lane3)
            state = merge(state, lane4)
        } else {
            state = seed &+ prime5
        }
        state = state &+ UInt64(count)
        while at &+ 8 <= count {
            state = unsafe rotate(state ^ round(0, word(base, at)), 27) &* prime1 &+ prime4
            at &+= 8
        }
        if at &+ 4 <= count {
            let half = unsafe UInt64(UInt32(littleEndian: base.loadUnaligned(fromByteOffset: at, as: UInt32.self)))
            state = rotate(state ^ (half &* prime1), 23) &* prime2 &+ prime3
            at &+= 4
        }
        while at < count {
            let byte = unsafe UInt64(base.load(fromByteOffset: at, as: UInt8.self))
            state = rotate(state ^ (byte &* prime5), 11) &* prime1
            at &+= 1
        }
        return avalanche(state)
    }

    @inline(__always)
    private static func word(_ base: UnsafeRawPointer, _ offset: Int) -> UInt64 {
        unsafe UInt64(littleEndian: base.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
    }

    @inline(__always)
    private static func rotate(_ value: UInt64, _ count: UInt64) -> UInt64 {
        (value << count) | (value >> (64 &- count))
    }

    @inline(__always)
    private static func round(_ lane: UInt64, _ input: UInt64) -> UInt64 {
        rotate(lane &+ (input &* prime2), 31) &* prime1
    }

    @inline(__always)
    private static func merge(_ state: UInt64, _ lane: UInt64) -> UInt64 {
        (state ^ round(0, lane)) &* prime1 &+ prime4
    }

    private static func avalanche(_ state: UInt64) -> UInt64 {
        var state = state
        state = (state ^ (state >> 33)) &* prime2
        state = (state ^ (state >> 29)) &* prime3
        return state ^ (state >> 32)
    }
}
