extension RandomAccessCollection {
    /// The first place of a sorted collection whose element belongs to its end; `endIndex` when none does.
    ///
    /// The collection must be partitioned: `belongs` is false for some elements at its beginning, maybe none, and true for all that follow. Otherwise
    /// the answer is some place of the collection, or its end. Asks O(log n) elements.
    @inlinable
    package func firstSortedIndex(where belongs: (Element) -> Bool) -> Index {
        var (low, count) = (startIndex, count)
        while count > 0 {
            let middle = index(low, offsetBy: count / 2)
            if belongs(self[middle]) {
                count /= 2
            } else {
                low = index(after: middle)
                count -= count / 2 + 1
            }
        }
        return low
    }
}
