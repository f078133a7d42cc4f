/// Something that was decided for a job, with the numbers it was decided on and a sentence for people.
package struct Decision: Sendable, Codable, Equatable {
    /// What was decided.
    package enum Kind: String, Sendable, Codable, CaseIterable {
        case admitted, refused, queued, started, resized, checkpointed, restored, restarted, retried, suspended
        case iterationCompleted, completed, failed, cancelled, adopted, warned
        /// The deadline passed, or no allocation can keep it any more.
        case deadlineAtRisk, deadlineMet, deadlineMissed
        /// A deadline that was at risk can be kept again.
        case deadlineSafe
        /// A node was chosen for the job, or the choice was taken back.
        case placed
        /// The job runs on another node than before, from the same moment.
        case migrated
        /// The job was asked to end with a checkpoint, because another one needs its place more.
        case preempted
    }

    /// A named number that the decision rests on, for programs.
    package struct Number: Sendable, Codable, Equatable {
        /// Lower camel case with the unit last: `slackSeconds`, `allocationVCPUs`.
        package var name: String
        /// In the unit that the name says.
        package var value: Double
        package init(name: String, value: Double) { (self.name, self.value) = (name, value) }
    }

    package var time: Timestamp
    package var job: JobID
    package var kind: Kind
    /// One plain sentence with its numbers, ending with a full stop.
    package var sentence: String
    package var numbers: [Number]

    package init(time: Timestamp, job: JobID, kind: Kind, sentence: String, numbers: [Number] = []) {
        self.time = time
        self.job = job
        self.kind = kind
        self.sentence = sentence
        self.numbers = numbers
    }
}
