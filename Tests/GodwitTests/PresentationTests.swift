import Testing

@testable import godwit

/// Numbers, times and texts as people read them.
struct PresentationTests {
    @Test func distancesAreToldInWordsAndDoNotFlicker() {
        let style = Presentation.reader(now: noon)
        #expect(style.distance(to: noon + 0.2) == "now")
        #expect(style.distance(to: noon + 8.7) == "in 9 s")
        #expect(style.distance(to: noon - 8.2) == "8 s ago")
        #expect(style.distance(to: noon + 200) == "in 3 min 20 s")
        #expect(style.distance(to: noon - 7500) == "2 h 5 min ago")
    }

    @Test func aDayIsToldOnlyWhenItIsNotToday() {
        let style = Presentation.reader(now: noon)
        #expect(style.clock(noon + 5) == "12:00:05")
        #expect(style.clock(noon - 86_400) == "20 Nov 12:00:00")
        #expect(style.clock(noon - 400 * 86_400) == "2025-10-17 12:00:00")
    }

    @Test func momentsThatNoCalendarHoldsDoNotTrap() {
        let style = Presentation.reader()
        for value in [Double.nan, .infinity, -.infinity, 1e300, -1e300] {
            _ = style.moment(value)
            #expect(style.length(value) == "–")
        }
        #expect(style.vcpus(.nan) == "–" && style.percent(.infinity) == "–")
    }

    @Test(arguments: [0.0, 0.01, 0.5, 0.999, 1, 7, -3, .nan])
    func aBarHasItsWidthWhateverItShows(fraction: Double) {
        #expect(columns(of: Presentation.reader().bar(fraction, width: 20)) == 20)
        #expect(Presentation.reader(unicode: false).bar(fraction, width: 20).count == 22)
    }

    @Test func coloursAppearOnlyWhereTheyAreWanted() {
        #expect(Presentation.reader(color: true).paint("late", .bad) == "\u{1B}[31mlate\u{1B}[0m")
        #expect(Presentation.reader(color: false).paint("late", .bad) == "late")
    }

    @Test func textOfOthersCannotControlTheTerminal() {
        #expect(printable("a\u{1B}[2Jb\rc\u{9B}d\u{202E}e") == "a\u{FFFD}[2Jb\u{FFFD}c\u{FFFD}d\u{FFFD}e")
        #expect(printable("two\nlines") == "two lines")
    }

    @Test func textIsShortenedByColumnsNotBytes() {
        #expect(shortened("ångström-laboratory", to: 8, usesUnicode: true) == "ångströ…")
        #expect(columns(of: "東京") == 4)
        #expect(shortened("東京大学", to: 5, usesUnicode: true) == "東京…")
        #expect(shortened("abcdefgh", to: 6, usesUnicode: false) == "abc...")
    }

    @Test func wrappingKeepsEveryWordAndEveryLineFits() {
        let text = "Raised from 0.67 to 0.90 vCPUs because /a/path/that/is/longer/than/any/line/can/be is busy."
        let lines = wrapped(text, to: 24)
        #expect(lines.allSatisfy { columns(of: $0) <= 24 })
        #expect(lines.joined(separator: "").filter { $0 != " " } == text.filter { $0 != " " })
        #expect(wrapped("", to: 10) == [""])
    }
}
