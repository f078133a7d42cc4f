import ClusterModel
import Testing

struct QuantityTextTests {
    @Test(arguments: [
        ("90s", Duration.seconds(90)), ("1h30m", .seconds(5400)), ("1.5h", .seconds(5400)),
        ("500ms", .milliseconds(500)),
        ("2d 4h", .seconds(187_200)), ("10 min", .seconds(600)), ("PT2M", .seconds(120)),
        ("P1DT12H", .seconds(129_600)),
        ("pt1.5s", .milliseconds(1500)), ("PT0,25S", .milliseconds(250)), ("P2W", .seconds(1_209_600)), ("0", .zero),
        ("45", .seconds(45)), ("0.001", .milliseconds(1)), ("1_000", .seconds(1000)), ("250us", .microseconds(250)),
        ("1d2h3m4s5ms", .milliseconds(93_784_005)),
    ])
    func readsLengthsOfTime(text: String, length: Duration) throws {
        #expect(try Duration(text: text) == length)
    }

    @Test(arguments: [
        ("", "it is empty"), ("-5s", "not a length"), ("-5", "negative"), ("5 parsecs", "'parsecs' is not a unit"),
        ("30m1h", "large units to small"), ("1h1h", "large units to small"), ("s", "not a length"), ("P", "ISO 8601"),
        ("PT", "ISO 8601"), ("P1M", "years or months"), ("P1Y", "years or months"), ("PT1S1M", "ISO 8601"),
        ("P1H", "ISO 8601"), ("PTT1H", "ISO 8601"), ("101000d", "longer than 100 years"), ("nan", "not a length"),
        ("1e400", "'e' is not a unit"), ("5M", "not a unit"),
    ])
    func refusesOtherTexts(text: String, reason: String) {
        let error = #expect(throws: QuantityTextError.self) { try Duration(text: text) }
        #expect(error?.description.contains(reason) == true, "\(error.map(\.description) ?? "")")
    }

    @Test(arguments: [
        ("512MiB", Int64(512 << 20)), ("2Gi", 2 << 30), ("1.5GiB", 3 << 29), ("512M", 512_000_000),
        ("2GB", 2_000_000_000),
        ("64B", 64), ("1024", 1024), ("1k", 1000), ("1 KiB", 1024), ("0", 0), ("3TiB", 3 << 40),
    ])
    func readsBytes(text: String, bytes: Int64) throws {
        #expect(try ByteCount(text: text).rawValue == bytes)
    }

    @Test(arguments: [
        ("512m", "thousandths"), ("512mb", "not a unit of memory"), ("lots", "not an amount"), ("-1GiB", "negative"),
        ("9999999TiB", "more than any machine"), ("", "not an amount"),
    ])
    func refusesOtherAmounts(text: String, reason: String) {
        let error = #expect(throws: QuantityTextError.self) { try ByteCount(text: text) }
        #expect(error?.description.contains(reason) == true, "\(error.map(\.description) ?? "")")
    }

    @Test func readsProcessors() throws {
        #expect(try VCPUCount(text: "500m") == 0.5)
        #expect(try VCPUCount(text: " 2 ") == 2)
        #expect(throws: QuantityTextError.self) { try VCPUCount(text: "two") }
        #expect(throws: QuantityTextError.self) { try VCPUCount(text: "inf") }
    }

    @Test func writesWhatItReads() throws {
        var generator = SeededGenerator(seed: 7)
        for _ in 0..<2000 {
            // Amounts of every magnitude up to a century, in whole milliseconds or seconds.
            let shift = generator.next() % 41
            let length = Duration.milliseconds(Int64(generator.next() >> (64 - shift)) % 3_000_000_000_000)
            #expect(try Duration(text: length.documentText) == length, "\(length.documentText)")
            let bytes = ByteCount.bytes(Int64(generator.next() >> (12 + generator.next() % 50)))
            #expect(try ByteCount(text: bytes.documentText) == bytes, "\(bytes.documentText)")
        }
        #expect(Duration.seconds(5400).documentText == "1h30m")
        #expect(Duration.zero.documentText == "0s")
        #expect(ByteCount.mebibytes(512).documentText == "512MiB")
    }

    @Test(arguments: [
        ("1970-01-01T00:00:00Z", Int64(0)), ("2026-01-31T12:00:00.25Z", 1_769_860_800_250_000_000),
        ("2026-01-31T13:00:00+01:00", 1_769_860_800_000_000_000), ("2024-02-29 23:59:59z", 1_709_251_199_000_000_000),
        ("2000-02-29T00:00:00-00:30", 951_784_200_000_000_000),
    ])
    func readsMoments(text: String, nanoseconds: Int64) {
        #expect(Timestamp(text: text)?.rawValue == nanoseconds)
    }

    @Test(arguments: [
        "2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-01-01T24:00:00Z", "2026-01-01", "2026-01-01T00:00:00",
        "2026-01-01T00:00:00.Z", "2026-01-01T00:00:00Zjunk", "90s", "", "2100-02-29T00:00:00Z",
    ])
    func otherTextsAreNoMoments(text: String) {
        #expect(Timestamp(text: text) == nil)
    }

    @Test func momentsReadWhatTheyWrite() {
        var generator = SeededGenerator(seed: 8)
        for _ in 0..<1000 {
            let moment = Timestamp(rawValue: Int64(generator.next() % 6_000_000_000_000) * 1_000_000)
            #expect(Timestamp(text: moment.description) == moment)
        }
    }
}
