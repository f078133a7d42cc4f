package import ClusterModel

/// Why a machine cannot go on with the memory of a process that ran on another one.
///
/// A program may have found anything that its processor offers, so the other one must offer all of it. An older kernel can be lacking what the
/// program began to use; mostly it is not, so that keeps only those from it who run well where they are.
package enum PlatformObstacle: Sendable, Equatable {
    /// Another kind of processor.
    case architecture(String, wanted: String)
    /// Names of what its processors lack.
    case processor(missing: [String])
    /// Its kernel saves less of the processor's state, so the frames of signals being handled cannot be given back.
    case state(Int, wanted: Int)
    /// Its CRIU is older than the one whose images it would read, or there is none.
    case criu(NodePlatform.Version?, wanted: NodePlatform.Version?)
    /// Its kernel is older.
    case kernel(NodePlatform.Version, wanted: NodePlatform.Version)

    /// What is said after the name of a node.
    package var text: String {
        switch self {
        case .architecture(let found, let wanted): "has \(found) processors, and the job's memory is of \(wanted)"
        case .processor(let missing):
            "has processors without \(Self.list(missing)), which the job may be using"
        case .state(let found, let wanted):
            "saves \(found) bytes of a processor's state, and the job's memory may hold \(wanted)"
        case .criu(nil, _): "has no CRIU that works, so it cannot go on from a job's memory"
        case .criu(let found?, let wanted):
            "has CRIU \(found), which is older than the \(wanted.map { "\($0)" } ?? "one") that the job's memory is written by"
        case .kernel(let found, let wanted): "runs kernel \(found), and the job began under \(wanted)"
        }
    }

    /// What is said about several nodes.
    var summary: String {
        switch self {
        case .architecture(_, let wanted): "without \(wanted) processors"
        case .processor: "with processors that lack what the job may be using"
        case .state: "with less processor state than the job may have"
        case .criu: "without a CRIU that is new enough"
        case .kernel(_, let wanted): "with kernels older than \(wanted)"
        }
    }

    /// Whether two have the same summary.
    func isLike(_ other: PlatformObstacle) -> Bool {
        switch (self, other) {
        case (.architecture, .architecture), (.processor, .processor), (.state, .state), (.criu, .criu),
            (.kernel, .kernel):
            true
        default: false
        }
    }

    /// The first thing that keeps memory of one platform from another.
    ///
    /// - Parameters:
    ///   - wanted: where the process ran.
    ///   - found: where it is to go on.
    ///   - isStrict: whether an older kernel keeps it from there.
    /// - Returns: nil when nothing does, and when either is not known.
    static func first(from wanted: NodePlatform?, to found: NodePlatform?, isStrict: Bool) -> PlatformObstacle? {
        guard let wanted, let found else { return nil }
        guard found.architecture == wanted.architecture else {
            return .architecture(found.architecture, wanted: wanted.architecture)
        }
        guard let criu = found.criu else { return .criu(nil, wanted: wanted.criu) }
        if let least = wanted.criu, criu < least { return .criu(criu, wanted: least) }
        // A machine that tells nothing is not compared.
        if !found.features.isEmpty {
            let missing = wanted.features.subtracting(found.features)
            if !missing.isEmpty { return .processor(missing: missing.names(architecture: wanted.architecture)) }
        }
        if found.stateSize > 0, found.stateSize < wanted.stateSize {
            return .state(found.stateSize, wanted: wanted.stateSize)
        }
        if isStrict, let kernel = found.kernel, let least = wanted.kernel, kernel < least {
            return .kernel(kernel, wanted: least)
        }
        return nil
    }

    /// The first few of them.
    private static func list(_ names: [String]) -> String {
        guard names.count > 4 else { return names.joined(separator: ", ") }
        return names.prefix(3).joined(separator: ", ") + " and \(names.count - 3) more"
    }
}
