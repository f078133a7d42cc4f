import Glibc

/// Turns seconds since 1970 into the date and time of the reader's clock.
struct LocalCalendar: Sendable {
    /// A moment as people write it.
    struct Date: Sendable, Equatable {
        var year: Int
        var month: Int
        var day: Int
        var hour: Int
        var minute: Int
        var second: Int
        /// East of Greenwich.
        var offsetMinutes: Int

        /// For example `09:05:00`.
        var time: String { "\(two(hour)):\(two(minute)):\(two(second))" }
        /// For example `2026-11-21`.
        var isoDay: String { "\(year)-\(two(month))-\(two(day))" }
        /// For example `Nov`.
        var monthName: String {
            ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"][(month + 11) % 12]
        }
        /// For example `+01:00`, or `UTC`.
        var zone: String {
            guard offsetMinutes != 0 else { return "UTC" }
            let size = abs(offsetMinutes)
            return "\(offsetMinutes < 0 ? "-" : "+")\(two(size / 60)):\(two(size % 60))"
        }

        private func two(_ number: Int) -> String { number < 10 ? "0\(number)" : String(number) }
    }

    /// The reader's time zone, or that of Greenwich.
    private var isLocal: Bool

    /// The zone that the system and `TZ` name.
    static let local = LocalCalendar(isLocal: true)
    static let utc = LocalCalendar(isLocal: false)

    /// The date of a moment; one that no calendar holds becomes 1970.
    func date(_ moment: Double) -> Date {
        var seconds = moment.isFinite && abs(moment) < 1e13 ? time_t(moment.rounded(.down)) : 0
        var parts = unsafe tm()
        _ = isLocal ? unsafe localtime_r(&seconds, &parts) : unsafe gmtime_r(&seconds, &parts)
        return unsafe Date(
            year: Int(parts.tm_year) + 1900,
            month: Int(parts.tm_mon) + 1,
            day: Int(parts.tm_mday),
            hour: Int(parts.tm_hour),
            minute: Int(parts.tm_min),
            second: Int(parts.tm_sec),
            offsetMinutes: parts.tm_gmtoff / 60
        )
    }
}
