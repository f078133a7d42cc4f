/// Which counters of one sender have been seen: each is accepted once, in any order within the window.
///
/// A ring of bits as in RFC 6479, so that a step forward clears whole words.
struct ReplayWindow {
    private static let wordCount = 32
    /// A counter this far below the highest one is too old to be known.
    static let size = UInt64(64 * (wordCount - 1))

    /// The highest counter so far.
    private(set) var highest: UInt64
    private var words = [UInt64](repeating: 0, count: wordCount)

    /// A window that has seen one counter.
    init(first counter: UInt64) {
        highest = counter
        words[Self.index(of: counter)] = Self.bit(of: counter)
    }

    private static func index(of counter: UInt64) -> Int { Int(truncatingIfNeeded: counter >> 6) & (wordCount - 1) }
    private static func bit(of counter: UInt64) -> UInt64 { 1 << (counter & 63) }

    /// Whether the counter was not seen and is not too old.
    func accepts(_ counter: UInt64) -> Bool {
        if counter > highest { return true }
        return highest - counter < Self.size && words[Self.index(of: counter)] & Self.bit(of: counter) == 0
    }

    /// Remembers a counter that `accepts` let through.
    mutating func note(_ counter: UInt64) {
        if counter > highest {
            let steps = min(counter >> 6 - highest >> 6, UInt64(Self.wordCount))
            for step in 0..<steps { words[Self.index(of: highest &+ (step + 1) << 6)] = 0 }
            highest = counter
        }
        words[Self.index(of: counter)] |= Self.bit(of: counter)
    }
}
