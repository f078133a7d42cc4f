import ClusterModel
import Testing

struct SortedSearchTests {
    @Test func findsWhatALinearSearchFinds() {
        for count in 0...40 {
            let numbers = (0..<count).map { $0 / 3 * 2 }
            for wanted in -1...30 {
                let plain = numbers.firstIndex { $0 >= wanted } ?? numbers.endIndex
                #expect(numbers.firstSortedIndex { $0 >= wanted } == plain, "\(wanted) among \(count)")
            }
        }
    }

    @Test func answersWithPlacesOfASlice() {
        let slice = [9, 9, 1, 2, 3, 9][2..<5]
        #expect(slice.firstSortedIndex { $0 >= 2 } == 3)
        #expect(slice.firstSortedIndex { $0 >= 1 } == slice.startIndex)
        #expect(slice.firstSortedIndex { $0 >= 4 } == slice.endIndex)
        #expect(slice.prefix(0).firstSortedIndex { _ in true } == 2)
    }

    @Test(arguments: [1, 2, 1000, 1 << 40])
    func asksFewElements(count: Int) {
        for wanted in [0, count / 3, count - 1, count] {
            var asked = 0
            let found = (0..<count).firstSortedIndex { number in
                asked += 1
                return number >= wanted
            }
            #expect(found == wanted)
            #expect(asked <= count.bitWidth - count.leadingZeroBitCount)
        }
    }
}
