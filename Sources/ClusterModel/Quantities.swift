/// An amount of memory or storage in bytes.
package struct ByteCount: RawRepresentable, Hashable, Comparable, Sendable, Codable, CustomStringConvertible {
    package var rawValue: Int64
    package init(rawValue: Int64) { self.rawValue = rawValue }

    /// No bytes.
    package static let zero = ByteCount(rawValue: 0)
    /// That many bytes.
    package static func bytes(_ count: Int64) -> ByteCount { ByteCount(rawValue: count) }
    /// 1 KiB is 1,024 bytes.
    package static func kibibytes(_ count: Int64) -> ByteCount { ByteCount(rawValue: count << 10) }
    /// 1 MiB is 1,024 KiB.
    package static func mebibytes(_ count: Int64) -> ByteCount { ByteCount(rawValue: count << 20) }
    /// 1 GiB is 1,024 MiB.
    package static func gibibytes(_ count: Int64) -> ByteCount { ByteCount(rawValue: count << 30) }

    package static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
    package static func + (left: Self, right: Self) -> Self { ByteCount(rawValue: left.rawValue + right.rawValue) }
    package static func - (left: Self, right: Self) -> Self { ByteCount(rawValue: left.rawValue - right.rawValue) }

    /// The amount with a binary unit and one decimal, as people read it: `512 MiB`, `1.5 GiB`.
    package var description: String {
        var value = Double(rawValue)
        for unit in ["B", "KiB", "MiB", "GiB", "TiB"] {
            if abs(value) < 1024 || unit == "TiB" {
                let decimals = value == value.rounded() ? 0 : 1
                return "\(value.text(decimals: decimals)) \(unit)"
            }
            value /= 1024
        }
        return "\(rawValue) B"
    }
}

/// An amount of processor: 1.5 means one whole vCPU and half of another.
package struct VCPUCount: RawRepresentable, Hashable, Comparable, Sendable, Codable, CustomStringConvertible,
    ExpressibleByFloatLiteral, ExpressibleByIntegerLiteral
{
    package var rawValue: Double
    package init(rawValue: Double) { self.rawValue = rawValue }
    package init(_ value: Double) { self.rawValue = value }
    package init(floatLiteral value: Double) { self.rawValue = value }
    package init(integerLiteral value: Int) { self.rawValue = Double(value) }

    /// No processor.
    package static let zero = VCPUCount(0)
    package static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
    package static func + (left: Self, right: Self) -> Self { VCPUCount(left.rawValue + right.rawValue) }
    package static func - (left: Self, right: Self) -> Self { VCPUCount(left.rawValue - right.rawValue) }
    package static func += (left: inout Self, right: Self) { left = left + right }
    package static func -= (left: inout Self, right: Self) { left = left - right }

    /// The amount with two decimals: `1.50`.
    package var description: String { rawValue.text(decimals: 2) }
}

/// A moment of wall-clock time: nanoseconds since 1970-01-01T00:00:00Z, without leap seconds.
///
/// Deadlines, decisions and ledgers outlive a boot, so they use this; protocol timers use `ContinuousClock.Instant`.
package struct Timestamp: RawRepresentable, Hashable, Comparable, Sendable, Codable, CustomStringConvertible {
    package var rawValue: Int64
    package init(rawValue: Int64) { self.rawValue = rawValue }
    package init(seconds: Double) { self.rawValue = Int64((seconds * 1e9).rounded()) }

    /// 1970-01-01T00:00:00Z.
    package static let epoch = Timestamp(rawValue: 0)
    package static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
    package static func + (left: Self, right: Duration) -> Self {
        Timestamp(rawValue: left.rawValue + right.nanoseconds)
    }
    package static func - (left: Self, right: Duration) -> Self {
        Timestamp(rawValue: left.rawValue - right.nanoseconds)
    }
    package static func - (left: Self, right: Self) -> Duration { .nanoseconds(left.rawValue - right.rawValue) }

    /// Seconds since the epoch.
    package var seconds: Double { Double(rawValue) / 1e9 }

    /// The moment in UTC, RFC 3339 with milliseconds: `2026-01-31T12:00:00.250Z`.
    package var description: String {
        let milliseconds = rawValue.flooredQuotient(by: 1_000_000)
        let (days, ofDay) = (
            milliseconds.flooredQuotient(by: 86_400_000), milliseconds.flooredRemainder(by: 86_400_000)
        )
        let date = CivilDate(daysSinceEpoch: days)
        let time = [ofDay / 3_600_000, ofDay / 60_000 % 60, ofDay / 1000 % 60].map { $0.padded(2) }
        return "\(date.year.padded(4))-\(date.month.padded(2))-\(date.day.padded(2))T\(time.joined(separator: ":"))"
            + ".\((ofDay % 1000).padded(3))Z"
    }
}

/// A day of the proleptic Gregorian calendar (Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`).
private struct CivilDate {
    let year: Int64
    let month: Int64
    let day: Int64

    init(daysSinceEpoch: Int64) {
        let shifted = daysSinceEpoch + 719_468
        let era = shifted.flooredQuotient(by: 146_097)
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        day = dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
        month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
    }
}

extension Int64 {
    fileprivate func flooredQuotient(by divisor: Int64) -> Int64 {
        self >= 0 ? self / divisor : -((-self + divisor - 1) / divisor)
    }
    fileprivate func flooredRemainder(by divisor: Int64) -> Int64 { self - flooredQuotient(by: divisor) * divisor }
    fileprivate func padded(_ width: Int) -> String {
        let digits = String(self)
        return String(repeating: "0", count: Swift.max(0, width - digits.count)) + digits
    }
}

extension Duration {
    /// The length in seconds, rounded to what a `Double` holds.
    package var inSeconds: Double {
        let (seconds, attoseconds) = components
        return Double(seconds) + Double(attoseconds) / 1e18
    }

    /// The length in whole nanoseconds, truncated; lengths beyond 292 years trap.
    package var nanoseconds: Int64 {
        let (seconds, attoseconds) = components
        return seconds * 1_000_000_000 + attoseconds / 1_000_000_000
    }

    /// The length as people read it: `0.25 s`, `42 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`.
    package var text: String {
        let seconds = inSeconds
        let size = abs(seconds)
        let sign = seconds < 0 ? "-" : ""
        if size < 1 { return "\(sign)\(size.text(decimals: 2)) s" }
        if size < 10 { return "\(sign)\(size.text(decimals: 1)) s" }
        let whole = Int64(size.rounded())
        let parts: [(Int64, String)] =
            switch whole {
            case ..<60: [(whole, "s")]
            case ..<3600: [(whole / 60, "min"), (whole % 60, "s")]
            case ..<86400: [(whole / 3600, "h"), (whole % 3600 / 60, "min")]
            default: [(whole / 86400, "d"), (whole % 86400 / 3600, "h")]
            }
        return sign
            + parts.enumerated().filter { $0.offset == 0 || $0.element.0 > 0 }
            .map { "\($0.element.0) \($0.element.1)" }.joined(separator: " ")
    }
}

extension Double {
    /// The number with a fixed count of decimals and a point, whatever the locale; `nan` and `inf` are spelled so.
    ///
    /// The pure targets have no Foundation, so they cannot use its formatters. Magnitudes beyond 10^15 are printed as they are.
    package func text(decimals: Int) -> String {
        guard isFinite else { return isNaN ? "nan" : (self < 0 ? "-inf" : "inf") }
        var factor = 1.0
        for _ in 0..<decimals { factor *= 10 }
        let scaled = (magnitude * factor).rounded(.toNearestOrAwayFromZero)
        guard scaled < 1e15 else { return String(self) }
        let digits = String(Int64(scaled))
        let padded = String(repeating: "0", count: Swift.max(0, decimals + 1 - digits.count)) + digits
        let sign = self < 0 && scaled > 0 ? "-" : ""
        guard decimals > 0 else { return sign + padded }
        return "\(sign)\(padded.dropLast(decimals)).\(padded.suffix(decimals))"
    }
}
