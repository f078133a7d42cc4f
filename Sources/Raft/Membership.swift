internal import ClusterModel

/// Who votes and who only listens (thesis, chapter 4).
///
/// All lists are sorted and without repetition, and no member stands in two of them, except that an outgoing voter may be an
/// incoming one as well, or one of `nextLearners`.
package struct Membership: Sendable, Equatable {
    /// Voters; while joint, the incoming ones, C-new.
    package internal(set) var voters: [RaftMemberID]
    /// Voters on the way out, C-old; not empty exactly while joint.
    package internal(set) var outgoingVoters: [RaftMemberID]
    /// Members that receive the log and do not count (thesis, section 4.2.1).
    package internal(set) var learners: [RaftMemberID]
    /// Outgoing voters that become learners when the joint membership is left.
    package internal(set) var nextLearners: [RaftMemberID]
    /// Whether the leader leaves the joint membership by itself as soon as it is committed.
    package internal(set) var leavesAutomatically: Bool

    /// More members than this are refused.
    ///
    /// Each holds the whole log and state, and the leader sends each of them every entry.
    package static let memberLimit = 1024
    /// Places in all lists at most, here and for decoders: while voters change, some members stand in two lists.
    package static let placeLimit = memberLimit + 32

    /// Sorts the lists; what stands in both `voters` and `learners` is a voter.
    package init(voters: [RaftMemberID] = [], learners: [RaftMemberID] = []) {
        self.voters = Set(voters).sorted()
        self.learners = Set(learners).subtracting(voters).sorted()
        (outgoingVoters, nextLearners, leavesAutomatically) = ([], [], false)
    }

    /// Whether two majorities are needed (thesis, section 4.3).
    package var isJoint: Bool { !outgoingVoters.isEmpty }

    /// Whether the member's vote counts now.
    package func isVoter(_ id: RaftMemberID) -> Bool { voters.contains(id) || outgoingVoters.contains(id) }

    /// Whether the member receives the log.
    package func contains(_ id: RaftMemberID) -> Bool { isVoter(id) || learners.containsSorted(id) }

    /// Whether nobody is a member, as before a log has begun.
    package var isEmpty: Bool { voters.isEmpty && learners.isEmpty && outgoingVoters.isEmpty }

    /// Whether this member is the whole group, so that nobody else need be asked or can be.
    package func isOnly(_ id: RaftMemberID) -> Bool { !isJoint && learners.isEmpty && voters == [id] }

    /// Everybody who receives the log, sorted.
    package var members: [RaftMemberID] { Set(voters).union(outgoingVoters).union(learners).sorted() }

    var sizeOfLists: Int { voters.count + outgoingVoters.count + learners.count + nextLearners.count }
}

/// A change of who votes and who listens.
package struct MembershipChange: Sendable, Equatable {
    /// What becomes of one member.
    package enum Step: Sendable, Equatable {
        /// Becomes a voter, whatever it was.
        case voter(RaftMemberID)
        /// Becomes a learner, whatever it was.
        case learner(RaftMemberID)
        /// Is no member any more.
        case remove(RaftMemberID)
    }

    /// How the change is carried out.
    package enum Transition: Sendable, Equatable {
        /// At once when one voter at most changes, else joint and left automatically.
        case automatic
        /// Joint in any case; it is left automatically, or by `leave`.
        case joint(leavesAutomatically: Bool)
        /// Leaves a joint membership; the change has no steps.
        case leave
    }

    package var steps: [Step]
    package var transition: Transition

    package init(_ steps: [Step], transition: Transition = .automatic) {
        (self.steps, self.transition) = (steps, transition)
    }

    /// Ends a joint membership that is not left automatically.
    package static let leave = MembershipChange([], transition: .leave)
}

/// Why a change of the membership is refused.
package enum MembershipError: Error, Sendable, Equatable, CustomStringConvertible {
    /// Only the leader changes the membership; it may be this one.
    case notLeader(RaftMemberID?)
    /// An earlier change, or the first entry of this term, is not committed yet; ask again when it is.
    case changeInProgress
    /// Leadership is being handed over.
    case transferring
    case alreadyJoint, notJoint
    /// More than one voter would change at once without a joint membership.
    case manyVoters
    case noVoters
    case tooManyMembers(count: Int)
    /// The context is longer than `Message.contextByteLimit`.
    case contextTooLong(count: Int)

    package var description: String {
        switch self {
        case .notLeader(let leader?): "member \(leader) is the leader: ask it"
        case .notLeader(nil): "no leader is known: ask again"
        case .changeInProgress: "an earlier change is not committed yet: ask again when it is"
        case .transferring: "leadership is being handed over: ask the new leader"
        case .alreadyJoint: "the membership is joint: leave it first"
        case .notJoint: "the membership is not joint: there is nothing to leave"
        case .manyVoters: "more than one voter would change at once: use a joint membership"
        case .noVoters: "no voter would be left"
        case .tooManyMembers(let count): "\(count) members are more than \(Membership.memberLimit)"
        case .contextTooLong(let count): "a context of \(count) bytes is more than \(Message.contextByteLimit)"
        }
    }
}

extension Membership {
    /// The membership after a change (thesis, sections 4.1 and 4.3); whether it may begin now is the leader's to know.
    package func applying(_ change: MembershipChange) throws(MembershipError) -> Membership {
        let next: Membership
        switch change.transition {
        case .leave: next = try leavingJoint()
        case .joint(let leavesAutomatically):
            next = try enteringJoint(change.steps, leavesAutomatically: leavesAutomatically)
        case .automatic:
            guard !isJoint else { throw .alreadyJoint }
            do {
                next = try changingOneVoter(change.steps)
            } catch .manyVoters {
                next = try enteringJoint(change.steps, leavesAutomatically: true)
            }
        }
        let count = next.members.count
        guard count <= Self.memberLimit, next.sizeOfLists <= Self.placeLimit else {
            throw .tooManyMembers(count: count)
        }
        return next
    }

    /// Changes one voter at most, and any number of learners, in one entry (thesis, section 4.1).
    package func changingOneVoter(_ steps: [MembershipChange.Step]) throws(MembershipError) -> Membership {
        guard !isJoint else { throw .alreadyJoint }
        let next = try carryingOut(steps)
        guard Set(voters).symmetricDifference(next.voters).count <= 1 else { throw .manyVoters }
        return next
    }

    /// The first of two entries of an arbitrary change (thesis, section 4.3).
    package func enteringJoint(
        _ steps: [MembershipChange.Step],
        leavesAutomatically: Bool
    ) throws(MembershipError) -> Membership {
        guard !isJoint else { throw .alreadyJoint }
        guard !voters.isEmpty else { throw .noVoters }
        var joint = self
        joint.outgoingVoters = voters
        joint.leavesAutomatically = leavesAutomatically
        return try joint.carryingOut(steps)
    }

    /// The second of the two entries.
    package func leavingJoint() throws(MembershipError) -> Membership {
        guard isJoint else { throw .notJoint }
        return Membership(voters: voters, learners: learners + nextLearners)
    }

    private func carryingOut(_ steps: [MembershipChange.Step]) throws(MembershipError) -> Membership {
        var next = self
        for step in steps {
            switch step {
            case .voter(let id) where id.rawValue != 0:
                next.remove(id)
                next.voters.insertSorted(id)
            case .learner(let id) where id.rawValue != 0:
                next.remove(id)
                // An outgoing voter still counts; it becomes a learner when the joint membership is left.
                if next.outgoingVoters.contains(id) {
                    next.nextLearners.insertSorted(id)
                } else {
                    next.learners.insertSorted(id)
                }
            case .remove(let id): next.remove(id)
            case .voter, .learner: break
            }
        }
        guard !next.voters.isEmpty else { throw .noVoters }
        return next
    }

    private mutating func remove(_ id: RaftMemberID) {
        voters.removeAll { $0 == id }
        learners.removeAll { $0 == id }
        nextLearners.removeAll { $0 == id }
    }
}

extension [RaftMemberID] {
    /// Where the number is or would be.
    private func place(of id: RaftMemberID) -> Int { firstSortedIndex { $0 >= id } }

    fileprivate func containsSorted(_ id: RaftMemberID) -> Bool {
        let place = place(of: id)
        return place < endIndex && self[place] == id
    }

    fileprivate mutating func insertSorted(_ id: RaftMemberID) {
        let place = place(of: id)
        if place == endIndex || self[place] != id { insert(id, at: place) }
    }
}
