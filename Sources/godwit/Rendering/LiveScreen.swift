/// Redraws a few lines in place on a terminal.
struct LiveScreen {
    /// Lines of the picture that is on the screen.
    private var drawnLines = 0
    private let height: Int

    /// Undoes what a screen does to the terminal.
    static let restoration = "\u{1B}[?25h"

    init(height: Int) { self.height = max(4, height) }

    /// The bytes that replace the last picture by this one; lines must fit the terminal's width.
    mutating func redraw(_ lines: [String]) -> String {
        // A picture higher than the terminal would scroll and could not be found again.
        var shown = lines
        if shown.count > height - 1 { shown = Array(shown.prefix(height - 2)) + ["  ..."] }
        // Synchronized update (mode 2026): terminals that know it never show half a picture.
        var text = "\u{1B}[?2026h\u{1B}[?25l"
        if drawnLines > 0 { text += "\u{1B}[\(drawnLines)A\r" }
        for line in shown { text += line + "\u{1B}[K\n" }
        text += "\u{1B}[J\u{1B}[?2026l"
        drawnLines = shown.count
        return text
    }
}
