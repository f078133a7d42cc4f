import ControlAPI
import LinuxSystem
import TLS

/// What a program said, and how it ended.
struct ProgramAnswer: Sendable {
    var status: Int32
    /// Its output and then its complaints, each run of white space as one space: how they are wrapped does not matter here.
    var text: String
}

extension ScenarioRun {
    /// Runs `godwit` as a user would; the line's words stand between single spaces.
    func godwit(_ line: String, _ more: [String] = []) async throws -> ProgramAnswer {
        let words = line.split(separator: " ").map(String.init) + more
        let result = try await ProcessRunner.run(ProgramCommand(programs + "/godwit", words), timeout: .seconds(40))
        let said = (result.outputText + " " + result.errorText).split(whereSeparator: \.isWhitespace)
        let text = said.joined(separator: " ")
        guard case .exited(let status) = result.exit, !result.hasTimedOut else {
            throw Broken("`godwit \(line)` did not end by itself: \(text)")
        }
        return ProgramAnswer(status: status, text: text)
    }
}

// What an administrator types.
extension AgentCluster {
    /// Words that name an agent, and an identity file: an administrator's when none is given.
    func words(asking agent: AgentProcess, identity: String? = nil) throws -> [String] {
        let administrator = run.folder + "/administrator.pem"
        if identity == nil, !FileSystem.exists(administrator) {
            try agent.credentials().identity.trusting(agents.map(\.authority.certificate)).save(to: administrator)
        }
        return ["--identity", identity ?? administrator, "--agent", "\(agent.host):\(agent.port)"]
    }

    /// Asks an agent with `godwit`.
    func godwit(_ line: String, asking agent: AgentProcess, identity: String? = nil) async throws -> ProgramAnswer {
        try await run.godwit(line, words(asking: agent, identity: identity))
    }

    /// Asks an agent with `godwit` for something that has to be done; returns what was said.
    @discardableResult
    func done(_ line: String, asking agent: AgentProcess) async throws -> String {
        let answer = try await godwit(line, asking: agent)
        try expect(
            answer.status == 0,
            "`godwit \(line)`, asked of \(agent.name), ended with status \(answer.status): \(answer.text)"
        )
        return answer.text
    }

    /// Asks an agent with `godwit` for something that must not be done, for a reason that has these words.
    func refused(_ line: String, asking agent: AgentProcess, because words: String...) async throws {
        let answer = try await godwit(line, asking: agent)
        try expect(answer.status != 0, "`godwit \(line)` was not refused: \(answer.text)")
        for word in words {
            try expect(answer.text.contains(word), "`godwit \(line)`, refused, does not say '\(word)': \(answer.text)")
        }
        run.note("  `godwit \(line)`: \(answer.text)")
    }

    /// Waits until `godwit status` of an agent has some words; they are the beginning of what is noted.
    func expectStatus(
        _ beginning: String,
        _ words: String...,
        asking agent: AgentProcess,
        within limit: Duration = .seconds(30)
    ) async throws {
        let line = try await run.eventually(
            "'\(beginning)' in what `godwit status` of \(agent.name) says",
            within: limit,
            every: .milliseconds(200)
        ) {
            let text = try await statusText(of: agent)
            guard let begin = text.firstRange(of: beginning)?.lowerBound else { throw Broken(text) }
            for word in words where !text[begin...].contains(word) { throw Broken("no '\(word)' in: \(text)") }
            return String(text[begin...].prefix(160))
        }
        run.note("  godwit status at \(agent.name): \(line)")
    }
}
