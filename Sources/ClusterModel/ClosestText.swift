/// The candidate that a mistyped text most likely meant, or nil when none is near.
///
/// Near is an edit distance (insertions, deletions, substitutions, swaps of neighbours) of at most a third of the longer text,
/// ignoring case, `-` and `_`; or the text is the beginning of the candidate, or the other way round. Ties go to the first candidate.
///
/// Without `takesBeginnings` only the distance counts.
package func closestText(
    to text: String,
    among candidates: some Sequence<String>,
    takesBeginnings: Bool = true
) -> String? {
    let wanted = folded(text)
    var best: (distance: Int, candidate: String)?
    for candidate in candidates {
        let other = folded(candidate)
        let bound = max(1, max(wanted.count, other.count) / 3)
        // Three letters are enough to mean something: `mem` is `memory`, `timeout` is nearly `time`.
        let isBeginning =
            takesBeginnings && min(wanted.count, other.count) >= 3
            && (other.starts(with: wanted) || wanted.starts(with: other))
        guard isBeginning || abs(wanted.count - other.count) <= bound else { continue }
        let distance = isBeginning ? 1 : editDistance(wanted, other)
        guard distance <= bound, distance < best?.distance ?? .max else { continue }
        best = (distance, candidate)
    }
    return best?.candidate
}

/// Lower case without separators; at most 64 characters, which bounds the work.
private func folded(_ text: String) -> [Character] {
    Array(text.lowercased().filter { $0 != "-" && $0 != "_" }.prefix(64))
}

/// Optimal string alignment distance (Boytsov, "Indexing methods for approximate dictionary searching", 2011, section 2.1).
private func editDistance(_ left: [Character], _ right: [Character]) -> Int {
    var before: [Int] = []
    var last = Array(0...right.count)
    for row in 0..<left.count {
        var current = [row + 1]
        for column in 0..<right.count {
            var cost = last[column] + (left[row] == right[column] ? 0 : 1)
            cost = min(cost, last[column + 1] + 1, current[column] + 1)
            if row > 0, column > 0, left[row] == right[column - 1], left[row - 1] == right[column] {
                cost = min(cost, before[column - 1] + 1)
            }
            current.append(cost)
        }
        (before, last) = (last, current)
    }
    return last[right.count]
}
