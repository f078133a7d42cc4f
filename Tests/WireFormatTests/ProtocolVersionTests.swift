import Testing
import WireFormat

struct ProtocolVersionTests {
    @Test(
        arguments: [
            (1, 1, 1, 1, 1), (1, 3, 2, 5, 3), (2, 5, 1, 3, 3), (1, 2, 3, 4, nil), (3, 4, 1, 2, nil), (1, 9, 4, 4, 4),
        ] as [(UInt32, UInt32, UInt32, UInt32, UInt32?)]
    )
    func `Both sides take the newest version that both speak`(
        ourOldest: UInt32,
        ourNewest: UInt32,
        theirOldest: UInt32,
        theirNewest: UInt32,
        agreed: UInt32?
    ) {
        func range(_ oldest: UInt32, _ newest: UInt32) -> ClosedRange<ProtocolVersion> {
            ProtocolVersion(rawValue: oldest)...ProtocolVersion(rawValue: newest)
        }
        let (ours, theirs) = (range(ourOldest, ourNewest), range(theirOldest, theirNewest))
        #expect(ProtocolVersion.agreed(ours, theirs)?.rawValue == agreed)
        #expect(ProtocolVersion.agreed(theirs, ours)?.rawValue == agreed)
    }
}
