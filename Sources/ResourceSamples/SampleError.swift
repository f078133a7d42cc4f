/// A text of the kernel that does not have the form its documentation gives it.
package struct SampleError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The file's name as people know it: `/proc/stat`, `cpu.stat`.
    package var file: String
    /// Counted from 1; 0 when the file as a whole is meant.
    package var line: Int
    /// The line as it was read, at most 120 characters of it.
    package var text: String
    /// What was expected there.
    package var expected: String

    /// Describes a line that could not be understood.
    package init(file: String, line: Int, text: String, expected: String) {
        self.file = file
        self.line = line
        self.text = String(text.prefix(120))
        self.expected = expected
    }

    package var description: String {
        line == 0
            ? "\(file): expected \(expected)."
            : "\(file), line \(line): expected \(expected), found \"\(text)\"."
    }
}
