import Checkpointing
import Testing

/// The values were computed with libxxhash 0.8.1.
struct XXHash64Tests {
    @Test(
        "agrees with the reference implementation",
        arguments: [
            ("", 0, 0xEF46_DB37_51D8_E999), ("a", 0, 0xD24E_C4F1_A98C_6E5B), ("abc", 0, 0x44BC_2CF5_AD77_0999),
            ("message digest", 0, 0x066E_D728_FCEE_B3BE),
            ("abcdefghijklmnopqrstuvwxyz", 0, 0xCFE1_F278_FA89_835C),
            ("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", 0, 0xAAA4_6907_D304_7814),
            (
                "12345678901234567890123456789012345678901234567890123456789012345678901234567890", 0,
                0xE04A_477F_19EE_145D
            ),
            ("abc", 0x9E37_79B9_7F4A_7C15, 0x2ED0_F59D_6B43_AC8B),
            (
                "12345678901234567890123456789012345678901234567890123456789012345678901234567890", 1,
                0x0B79_5E8B_945F_7051
            ),
        ] as [(String, UInt64, UInt64)]
    )
    func agreesWithReference(text: String, seed: UInt64, expected: UInt64) {
        #expect(XXHash64.hash(Array(text.utf8).span, seed: seed) == expected)
    }

    @Test("a changed bit at any place of any tail length changes the hash")
    func everyBitCounts() {
        for count in 1...70 {
            var bytes = (0..<count).map { UInt8($0 &* 37 & 0xFF) }
            let before = XXHash64.hash(bytes.span)
            for index in bytes.indices {
                bytes[index] ^= 0x10
                #expect(XXHash64.hash(bytes.span) != before)
                bytes[index] ^= 0x10
            }
        }
    }
}
