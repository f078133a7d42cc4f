import LinuxSystem

/// One process of a job, as `workloads/witness.c` tells it: from its first line to its last.
struct WitnessLife {
    var id: String
    /// Nanoseconds of the clock that the whole machine shares.
    var first: Int64
    var last: Int64
}

/// When a job's processes lived: what is left on the disk, whatever the agents believe.
struct WitnessRecord {
    /// By their beginning.
    let lives: [WitnessLife]

    /// Reads what the processes of a job wrote; nothing when none ever began.
    init(file: String) throws {
        guard FileSystem.exists(file) else {
            lives = []
            return
        }
        var byID: [String: WitnessLife] = [:]
        for line in try FileSystem.readText(file, limit: 64 << 20).split(separator: "\n") {
            let words = line.split(separator: " ")
            guard words.count == 2, let time = Int64(words[1]) else { throw Broken("\(file) has the line '\(line)'") }
            let id = String(words[0])
            var life = byID[id] ?? WitnessLife(id: id, first: time, last: time)
            (life.first, life.last) = (min(life.first, time), max(life.last, time))
            byID[id] = life
        }
        lives = byID.values.sorted { ($0.first, $0.id) < ($1.first, $1.id) }
    }

    /// The times between the end of what lived before and each next beginning; negative when two lived at once.
    var gaps: [Duration] {
        var end = lives.first?.last ?? 0
        return lives.dropFirst().map { life in
            defer { end = max(end, life.last) }
            return .nanoseconds(life.first - end)
        }
    }
}
