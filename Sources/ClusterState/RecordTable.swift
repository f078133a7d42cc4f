import ClusterModel

/// The records by identity, cheap to copy.
///
/// The agent applies commands to a copy of the state and keeps the original until the disk has them, so the state is copied with every
/// write. A record is large; behind a reference only the table of references is copied, and only changed records are new.
struct RecordTable: Sendable, Equatable {
    private final class Box: Sendable {
        let record: JobRecord
        init(_ record: JobRecord) { self.record = record }
    }

    private var boxes: [JobID: Box] = [:]

    var count: Int { boxes.count }

    /// In no particular order: sort before the order matters.
    var values: [JobRecord] { boxes.values.map(\.record) }

    /// The records of some jobs, or of all, by rising submission time.
    ///
    /// References are sorted, because a record is large.
    func bySubmission(_ ids: [JobID]? = nil) -> [JobRecord] {
        let chosen = ids.map { $0.compactMap { boxes[$0] } } ?? Array(boxes.values)
        return chosen.sorted { ($0.record.submitted, $0.record.id) < ($1.record.submitted, $1.record.id) }.map(\.record)
    }

    subscript(id: JobID) -> JobRecord? {
        get { boxes[id]?.record }
        set { boxes[id] = newValue.map(Box.init) }
    }

    mutating func removeValue(forKey id: JobID) -> JobRecord? { boxes.removeValue(forKey: id)?.record }

    static func == (left: Self, right: Self) -> Bool {
        left.boxes.count == right.boxes.count
            && left.boxes.allSatisfy { id, box in
                guard let other = right.boxes[id] else { return false }
                return box === other || box.record == other.record
            }
    }
}
