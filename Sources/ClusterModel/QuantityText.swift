/// Why a text is not the quantity it should be: what is wrong and what to write, without a full stop.
package struct QuantityTextError: Error, Sendable, Equatable, CustomStringConvertible {
    package var description: String

    /// Takes the message.
    package init(_ description: String) { self.description = description }
}

// MARK: Durations

extension Duration {
    /// Reads a length of time: `90s`, `1h30m`, `1.5h`, `500ms`, ISO 8601 `PT2M` (days, hours, minutes, seconds), or a plain
    /// number of seconds.
    ///
    /// Lengths are at least 0 and at most 100 years of 365 days; a fraction is exact to the nanosecond.
    package init(text: String) throws(QuantityTextError) {
        let trimmed = text.trimmed
        let nanoseconds: Int128
        if trimmed.first == "P" || trimmed.first == "p" {
            nanoseconds = try Self.iso8601(trimmed)
        } else if let plain = Self.exact(trimmed[...], times: Self.second) {
            nanoseconds = plain
        } else {
            nanoseconds = try Self.units(trimmed)
        }
        guard nanoseconds >= 0 else { throw QuantityTextError("'\(text)' is negative; a length of time is at least 0") }
        guard nanoseconds <= 100 * 365 * 86400 * Self.second else {
            throw QuantityTextError("'\(text)' is longer than 100 years")
        }
        self = .nanoseconds(Int64(nanoseconds))
    }

    /// Nanoseconds of a second: lengths are added up in whole nanoseconds, since binary fractions would lose some.
    private static let second: Int128 = 1_000_000_000

    /// A decimal number times a unit, rounded down to whole nanoseconds; nil when the text is no plain decimal number.
    private static func exact(_ text: Substring, times unit: Int128) -> Int128? {
        let isNegative = text.first == "-"
        let digits = (isNegative ? text.dropFirst() : text).filter { $0 != "_" }
        let parts = digits.split(separator: ".", omittingEmptySubsequences: false)
        guard (1...2).contains(parts.count), digits.count <= 20, let whole = parts.first else { return nil }
        let fraction = parts.count == 2 ? parts[1] : ""
        guard (whole + fraction).allSatisfy(\.isDecimalDigit), !whole.isEmpty, parts.count == 1 || !fraction.isEmpty,
            let value = Int128(whole + fraction)
        else { return nil }
        let scale = fraction.reduce(Int128(1)) { scale, _ in scale * 10 }
        return value * unit / scale * (isNegative ? -1 : 1)
    }

    private static let remedy = "write a length of time such as 90s, 1h30m, 500ms or PT2M"

    private static func units(_ text: String) throws(QuantityTextError) -> Int128 {
        var rest = Substring(text)
        var total: Int128 = 0
        var smallest = Int128.max
        guard !rest.isEmpty else { throw QuantityTextError("it is empty; \(remedy)") }
        while !rest.isEmpty {
            let digits = rest.prefix { $0.isDecimalDigit || $0 == "." }
            rest = rest.dropFirst(digits.count).trimmedStart
            let unit = rest.prefix { !$0.isDecimalDigit && $0 != "." && $0 != " " }
            rest = rest.dropFirst(unit.count).trimmedStart
            guard !digits.isEmpty, !unit.isEmpty else {
                throw QuantityTextError("'\(text)' is not a length of time; \(remedy)")
            }
            let factor: Int128
            switch unit {
            case "ns": factor = 1
            case "us", "µs": factor = 1000
            case "ms": factor = 1_000_000
            case "s", "sec", "second", "seconds": factor = second
            case "m", "min", "minute", "minutes": factor = 60 * second
            case "h", "hour", "hours": factor = 3600 * second
            case "d", "day", "days": factor = 86400 * second
            case "w", "week", "weeks": factor = 7 * 86400 * second
            default: throw QuantityTextError("'\(unit)' is not a unit of time; use ns, us, ms, s, m, h, d or w")
            }
            guard factor < smallest else {
                throw QuantityTextError("'\(text)' does not go from large units to small ones; \(remedy)")
            }
            guard let length = exact(digits, times: factor) else {
                throw QuantityTextError("'\(text)' is not a length of time; \(remedy)")
            }
            smallest = factor
            total += length
        }
        return total
    }

    /// Reads `P[nW][nD][T[nH][nM][nS]]`; years and months have no fixed length and are refused.
    private static func iso8601(_ text: String) throws(QuantityTextError) -> Int128 {
        let wrong = QuantityTextError(
            "'\(text)' is not an ISO 8601 length of time; write it like PT2M, PT1H30M or P1DT12H"
        )
        var rest = Substring(text.uppercased()).dropFirst()
        var total: Int128 = 0
        var isTime = false
        var order = 0
        guard !rest.isEmpty else { throw wrong }
        while let first = rest.first {
            if first == "T" {
                rest = rest.dropFirst()
                guard !isTime, !rest.isEmpty else { throw wrong }
                isTime = true
                order = max(order, 2)
                continue
            }
            let digits = rest.prefix { $0.isDecimalDigit || $0 == "." || $0 == "," }
            rest = rest.dropFirst(digits.count)
            guard let unit = rest.first, !digits.isEmpty else {
                throw wrong
            }
            rest = rest.dropFirst()
            let (place, factor): (Int, Int128)
            switch (unit, isTime) {
            case ("W", false): (place, factor) = (1, 7 * 86400)
            case ("D", false): (place, factor) = (2, 86400)
            case ("H", true): (place, factor) = (3, 3600)
            case ("M", true): (place, factor) = (4, 60)
            case ("S", true): (place, factor) = (5, 1)
            case ("Y", false), ("M", false):
                throw QuantityTextError("'\(text)' has years or months, whose length varies; write days: P30D")
            default: throw wrong
            }
            guard place > order else { throw wrong }
            guard let length = exact(Substring(digits.map { $0 == "," ? "." : $0 }), times: factor * second) else {
                throw wrong
            }
            order = place
            total += length
        }
        return total
    }

    /// The shortest text that `init(text:)` reads back as the same length: `1h30m`, `90ms`, `0s`.
    package var documentText: String {
        let (seconds, attoseconds) = components
        var rest = seconds
        var text = ""
        for (name, length) in [("d", 86400), ("h", 3600), ("m", 60)] as [(String, Int64)] where rest >= length {
            text += "\(rest / length)\(name)"
            rest %= length
        }
        let nanoseconds = attoseconds / 1_000_000_000
        if nanoseconds == 0 { return rest > 0 || text.isEmpty ? text + "\(rest)s" : text }
        if rest == 0, text.isEmpty {
            if nanoseconds % 1_000_000 == 0 { return "\(nanoseconds / 1_000_000)ms" }
            if nanoseconds % 1000 == 0 { return "\(nanoseconds / 1000)us" }
            return "\(nanoseconds)ns"
        }
        let digits = String(nanoseconds)
        var fraction = String(repeating: "0", count: 9 - digits.count) + digits
        while fraction.hasSuffix("0") { fraction.removeLast() }
        return text + "\(rest).\(fraction)s"
    }
}

// MARK: Bytes

extension ByteCount {
    /// Reads an amount of memory or storage: `512MiB`, `2Gi`, `1.5GiB` (powers of 1024), `512M`, `2GB` (powers of 1000), `64B`, or a
    /// plain number of bytes.
    ///
    /// Amounts are at least 0 and below 2^63 bytes.
    package init(text: String) throws(QuantityTextError) {
        let trimmed = text.trimmed
        let digits = trimmed.prefix { $0.isDecimalDigit || $0 == "." || $0 == "_" || $0 == "-" || $0 == "+" }
        let unit = String(trimmed.dropFirst(digits.count)).trimmed
        guard let number = decimalNumber(String(digits)) else {
            throw QuantityTextError("'\(text)' is not an amount of memory; write it like 512MiB, 2GiB or 500M")
        }
        guard number >= 0 else { throw QuantityTextError("'\(text)' is negative; an amount of memory is at least 0") }
        let factor: Double
        switch unit {
        case "", "B": factor = 1
        case "k", "K", "kB", "KB": factor = 1e3
        case "M", "MB": factor = 1e6
        case "G", "GB": factor = 1e9
        case "T", "TB": factor = 1e12
        case "Ki", "KiB": factor = 0x1p10
        case "Mi", "MiB": factor = 0x1p20
        case "Gi", "GiB": factor = 0x1p30
        case "Ti", "TiB": factor = 0x1p40
        case "m":
            throw QuantityTextError("'\(text)' has the unit m (thousandths); write M for 10^6 or MiB for 2^20 bytes")
        default:
            throw QuantityTextError(
                "'\(unit)' is not a unit of memory; use KiB, MiB, GiB, TiB (1024) or k, M, G, T (1000)"
            )
        }
        let bytes = (number * factor).rounded()
        guard bytes < 0x1p63 else { throw QuantityTextError("'\(text)' is more than any machine has") }
        self.init(rawValue: Int64(bytes))
    }

    /// The shortest text that `init(text:)` reads back as the same amount: `512MiB`, `1000`.
    package var documentText: String {
        for (shift, unit) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")]
        where rawValue != 0 && rawValue & ((1 << shift) - 1) == 0 {
            return "\(rawValue >> shift)\(unit)"
        }
        return "\(rawValue)"
    }
}

// MARK: Processors

extension VCPUCount {
    /// Reads an amount of processor: `1.5`, `2`, or thousandths as in `500m`.
    package init(text: String) throws(QuantityTextError) {
        let trimmed = text.trimmed
        let isMilli = trimmed.hasSuffix("m")
        guard let number = decimalNumber(String(isMilli ? trimmed.dropLast() : trimmed[...])) else {
            throw QuantityTextError("'\(text)' is not a number of vCPUs; write it like 2, 0.5 or 500m")
        }
        self.init(isMilli ? number / 1000 : number)
    }
}

// MARK: Numbers

/// Reads a decimal number, without the spellings that `Double` knows beside it (`inf`, `nan`, `0x1p3`); `_` separates digits.
package func decimalNumber(_ text: String) -> Double? {
    let allowed = text.allSatisfy { $0.isDecimalDigit || "+-._eE".contains($0) }
    guard allowed, text.contains(where: \.isDecimalDigit), text.last?.isDecimalDigit == true else { return nil }
    guard let value = Double(text.filter { $0 != "_" }), value.isFinite else { return nil }
    return value
}

extension Double {
    /// The shortest decimal text of this number without a needless fraction: `2`, `0.5`.
    package var documentText: String {
        self == rounded() && magnitude < 1e15 ? String(Int64(self)) : String(self)
    }
}

extension Character {
    fileprivate var isDecimalDigit: Bool { ("0"..."9").contains(self) }
}

extension String {
    fileprivate var trimmed: String { String(Substring(self).trimmedStart.trimmedEnd) }
}

extension Substring {
    fileprivate var trimmedStart: Substring { drop { $0 == " " || $0 == "\t" } }
    fileprivate var trimmedEnd: Substring {
        var text = self
        while text.last == " " || text.last == "\t" { text.removeLast() }
        return text
    }
}
