import ClusterModel

/// How text looks to this reader: colours, characters, width, and the moment from which times are told.
struct Presentation: Sendable {
    var usesColor: Bool
    /// Whether the reader's locale shows more than ASCII.
    var usesUnicode: Bool
    /// Columns; nil when nothing is shortened.
    var width: Int?
    /// Seconds since 1970.
    var now: Double
    var calendar: LocalCalendar
    /// Whether moments are also told as distances from now.
    var tellsDistances = true

    /// What a word means to the reader, apart from its letters.
    enum Tone: Sendable {
        case plain, strong, faint, good, notice, warning, bad
    }

    /// The text with the colour of its tone.
    func paint(_ text: String, _ tone: Tone) -> String {
        guard usesColor, tone != .plain, !text.isEmpty else { return text }
        let code =
            switch tone {
            case .plain: "0"
            case .strong: "1"
            case .faint: "2"
            case .good: "32"
            case .notice: "36"
            case .warning: "33"
            case .bad: "31"
            }
        return "\u{1B}[\(code)m\(text)\u{1B}[0m"
    }

    /// A bar of `width` columns whose `fraction` is filled.
    func bar(_ fraction: Double, width: Int) -> String {
        let part = fraction.isFinite ? min(max(fraction, 0), 1) : 0
        guard usesUnicode else {
            let full = Int((part * Double(width)).rounded())
            return "[" + String(repeating: "#", count: full) + String(repeating: ".", count: width - full) + "]"
        }
        let eighths = Int((part * Double(width) * 8).rounded())
        let partial = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8]
        let used = eighths / 8 + (partial.isEmpty ? 0 : 1)
        return String(repeating: "█", count: eighths / 8) + partial + String(repeating: "░", count: width - used)
    }

    /// A line of small columns, one for each value, scaled to `highest`; empty without Unicode.
    func sparkline(_ values: some Sequence<Double>, highest: Double) -> String {
        guard usesUnicode, highest > 0 else { return "" }
        let steps = Array("▁▂▃▄▅▆▇█")
        return String(values.map { steps[min(7, max(0, Int(($0 / highest * 7.999).rounded(.down))))] })
    }

    /// A mark that separates parts of one line.
    var dot: String { usesUnicode ? " · " : ", " }
    /// Stands for what is not known.
    var unknown: String { usesUnicode ? "–" : "-" }

    /// A length of time: `9.0 s`, `3 min 20 s`.
    func length(_ seconds: Double) -> String {
        guard seconds.isFinite, abs(seconds) < 1e10 else { return unknown }
        return Duration.nanoseconds(Int64((seconds * 1e6).rounded()) * 1000).text
    }

    /// How far a moment is away: `in 48 s`, `2 min 3 s ago`.
    func distance(to moment: Double) -> String {
        let seconds = moment - now
        if abs(seconds) < 0.5 { return "now" }
        // Beyond a few seconds tenths only flicker.
        let shown = abs(seconds) < 1 ? abs(seconds) : abs(seconds).rounded()
        let text = abs(seconds) < 10 ? "\(shown.text(decimals: shown < 1 ? 1 : 0)) s" : length(shown)
        return seconds > 0 ? "in \(text)" : "\(text) ago"
    }

    /// The time of day, with the day when it is not today: `12:01:22`, `21 Nov 12:01:22`.
    func clock(_ moment: Double) -> String {
        let (date, today) = (calendar.date(moment), calendar.date(now))
        let isToday = date.year == today.year && date.month == today.month && date.day == today.day
        if isToday { return date.time }
        return date.year == today.year ? "\(date.day) \(date.monthName) \(date.time)" : "\(date.isoDay) \(date.time)"
    }

    /// Both: `12:01:22 (in 48 s)`.
    func moment(_ moment: Double) -> String {
        tellsDistances ? "\(clock(moment)) (\(distance(to: moment)))" : clock(moment)
    }

    /// vCPUs with two decimals.
    func vcpus(_ count: Double) -> String { count.isFinite ? count.text(decimals: 2) : unknown }

    /// A share as whole percents.
    func percent(_ fraction: Double) -> String {
        fraction.isFinite ? "\((fraction * 100).text(decimals: 0)) %" : unknown
    }

    /// An amount of memory or storage.
    func bytes(_ count: UInt64) -> String { ByteCount.bytes(Int64(clamping: count)).description }

    /// A noun with its number: `1 job`, `3 jobs`.
    func count(_ number: some BinaryInteger, _ noun: String) -> String {
        number == 1 ? "1 \(noun)" : "\(number) \(noun)s"
    }
}

/// Text of others made safe for a terminal: control characters would move the cursor or change colours.
func printable(_ text: String) -> String {
    guard text.unicodeScalars.contains(where: isControl) else { return text }
    var result = String.UnicodeScalarView()
    for scalar in text.unicodeScalars {
        if scalar == "\n" || scalar == "\t" {
            result.append(" ")
        } else {
            result.append(isControl(scalar) ? "\u{FFFD}" : scalar)
        }
    }
    return String(result)
}

/// C0, C1, and the marks that turn the direction of text around.
private func isControl(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 0..<0x20, 0x7F..<0xA0, 0x202A...0x202E, 0x2066...0x2069: true
    default: false
    }
}

/// A message as one line.
func oneLine(_ text: String) -> String {
    text.split(whereSeparator: \.isNewline).map { trimmed(printable(String($0))) }.filter { !$0.isEmpty }
        .joined(separator: " ")
}

/// How many columns a terminal needs for the text, without colours.
func columns(of text: String) -> Int {
    if text.utf8.allSatisfy({ $0 < 0x80 }) { return text.utf8.count }
    return text.reduce(0) { $0 + ($1.unicodeScalars.first.map(isWide) == true ? 2 : 1) }
}

/// The ranges that Unicode's East Asian Width (UAX 11) calls wide, and emoji.
private func isWide(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 0x1100...0x115F, 0x2E80...0x303E, 0x3041...0xA4CF, 0xAC00...0xD7A3, 0xF900...0xFAFF, 0xFE30...0xFE6F,
        0xFF00...0xFF60, 0xFFE0...0xFFE6, 0x1F300...0x1F64F, 0x1F900...0x1F9FF, 0x20000...0x3FFFD:
        true
    default: false
    }
}

/// The text in at most `width` columns, its end replaced by an ellipsis where it does not fit.
func shortened(_ text: String, to width: Int, usesUnicode: Bool) -> String {
    guard columns(of: text) > width else { return text }
    let mark = usesUnicode ? "…" : "..."
    guard width > columns(of: mark) else { return String(mark.prefix(max(0, width))) }
    var result = ""
    var used = columns(of: mark)
    for character in text {
        let next = columns(of: String(character))
        guard used + next <= width else { break }
        result.append(character)
        used += next
    }
    return result + mark
}

/// The text as lines of at most `width` columns, broken between words.
func wrapped(_ text: String, to width: Int?) -> [String] {
    guard let width, width > 0 else { return [text] }
    var lines: [String] = []
    var line = ""
    for word in text.split(separator: " ", omittingEmptySubsequences: true) {
        let candidate = line.isEmpty ? String(word) : "\(line) \(word)"
        if columns(of: candidate) <= width || line.isEmpty {
            line = candidate
        } else {
            lines.append(line)
            line = String(word)
        }
        // A word longer than a line is cut, for example a path.
        while columns(of: line) > width {
            lines.append(String(line.prefix(width)))
            line = String(line.dropFirst(width))
        }
    }
    return line.isEmpty && !lines.isEmpty ? lines : lines + [line]
}
