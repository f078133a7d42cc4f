package import ClusterModel

/// One container: a job and the incarnation that it runs for.
///
/// runc, the cgroup and the folder all have this name, so two incarnations can never meet in one of them.
package struct ContainerID: Identifier {
    package let rawValue: String
    package init(rawValue: String) { self.rawValue = rawValue }

    /// `JOB-INCARNATION`.
    package init(job: JobID, incarnation: Incarnation) { rawValue = "\(job)-\(incarnation)" }

    /// The two parts again; nil for a name that is not one of ours.
    package var parts: (job: JobID, incarnation: Incarnation)? {
        guard let dash = rawValue.lastIndex(of: "-"), dash != rawValue.startIndex,
            let number = UInt32(rawValue[rawValue.index(after: dash)...])
        else { return nil }
        return (JobID(rawValue: String(rawValue[..<dash])), Incarnation(rawValue: number))
    }

    /// Whether the name can stand for a folder, a cgroup and a runc container: 1 to 128 characters of `[A-Za-z0-9_.-]`, not hidden.
    var isSafe: Bool {
        guard (1...128).contains(rawValue.utf8.count), rawValue.first != ".", rawValue.first != "-" else {
            return false
        }
        return rawValue.utf8.allSatisfy {
            switch $0 {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "."), UInt8(ascii: "-"):
                true
            default: false
            }
        }
    }
}
