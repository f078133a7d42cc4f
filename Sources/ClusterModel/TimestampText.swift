extension Timestamp {
    /// Reads a moment in RFC 3339: `2026-01-31T12:00:00Z`, with a fraction, with an offset (`+01:00`); nil for anything else.
    ///
    /// The date must exist; `t`, `z` and a space instead of `T` are accepted, as section 5.6 allows.
    package init?(text: String) {
        var rest = Substring(text)
        func digits(_ count: Int) -> Int64? {
            let taken = rest.prefix(count)
            guard taken.utf8.count == count, taken.utf8.allSatisfy({ (48...57).contains($0) }) else { return nil }
            rest = rest.dropFirst(count)
            return Int64(taken)
        }
        func mark(_ allowed: String) -> Character? {
            guard let first = rest.first, allowed.contains(first) else { return nil }
            rest = rest.dropFirst()
            return first
        }
        guard let year = digits(4), mark("-") != nil, let month = digits(2), mark("-") != nil, let day = digits(2),
            mark("Tt ") != nil, let hour = digits(2), mark(":") != nil, let minute = digits(2), mark(":") != nil,
            let second = digits(2), (1970...2200).contains(year), (1...12).contains(month), hour < 24, minute < 60,
            second < 60
        else { return nil }
        let isLeap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
        let lengths: [Int64] = [31, isLeap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
        guard (1...lengths[Int(month - 1)]).contains(day) else { return nil }
        var nanoseconds: Int64 = 0
        if mark(".") != nil {
            let fraction = rest.prefix { $0.isASCII && $0.isNumber }
            guard !fraction.isEmpty else { return nil }
            let nine = fraction.prefix(9) + String(repeating: "0", count: max(0, 9 - fraction.count))
            nanoseconds = Int64(nine) ?? 0
            rest = rest.dropFirst(fraction.count)
        }
        var offset: Int64 = 0
        guard let zone = mark("Zz+-") else { return nil }
        if zone == "+" || zone == "-" {
            guard let hours = digits(2), mark(":") != nil, let minutes = digits(2), hours < 24, minutes < 60 else {
                return nil
            }
            offset = (hours * 3600 + minutes * 60) * (zone == "-" ? -1 : 1)
        }
        guard rest.isEmpty else { return nil }
        // Days from the civil date (H. Hinnant, "chrono-compatible low-level date algorithms", `days_from_civil`).
        let shiftedYear = month <= 2 ? year - 1 : year
        let (era, yearOfEra) = shiftedYear.quotientAndRemainder(dividingBy: 400)
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        let days = era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
        let seconds = days * 86400 + hour * 3600 + minute * 60 + second - offset
        self.init(rawValue: seconds * 1_000_000_000 + nanoseconds)
    }
}
