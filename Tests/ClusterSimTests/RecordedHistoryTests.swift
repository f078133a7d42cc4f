import Foundation
import Testing

@testable import ClusterSim

/// Histories of real systems whose verdicts are known; `Histories/NOTICE.txt` says whose, and how they are written.
struct RecordedHistoryTests {
    private static let registers = Self.recorded("registers.txt")
    private static let texts = Self.recorded("texts.txt")

    @Test func `The verdicts on registers that clients read, wrote and compared are those that are known`() {
        #expect(Self.registers.count == 34 && Self.registers.count { $0.isLinearizable } == 6)
        for recorded in Self.registers {
            let history = Self.operations(of: recorded) { call in
                switch call.kind {
                case "r": .read
                case "w": call.words.first.flatMap { Int($0) }.map { .write($0) }
                case "c":
                    call.words.count == 2
                        ? Int(call.words[0]).flatMap { old in Int(call.words[1]).map { .exchange(old, $0) } } : nil
                default: nil
                }
            }
            .map { PlainRegister(kind: $0.kind, start: $0.start, end: $0.end, answer: $0.answer) }
            #expect(history.count > 70, "\(recorded.name)")
            let verdict = LinearizabilityChecker.verdict(history)
            #expect(verdict == (recorded.isLinearizable ? .linearizable : .notLinearizable), "\(recorded.name)")
        }
    }

    @Test func `The verdicts on texts under many keys are those that are known`() {
        #expect(Self.texts.count == 4 && Self.texts.count { $0.isLinearizable } == 2)
        for recorded in Self.texts {
            let history = Self.operations(of: recorded) { call -> (key: String, kind: TextUnderKey.Kind)? in
                let text = call.words.dropFirst().joined(separator: ",")
                guard let key = call.words.first else { return nil }
                return switch call.kind {
                case "g": (key: key, kind: .get)
                case "a": (key: key, kind: .append(text))
                case "p": (key: key, kind: .put(text))
                default: nil
                }
            }
            let keys = Dictionary(grouping: history) { $0.kind.key }
            #expect(keys.count > 5)
            // What is done to one key says nothing about another.
            let isLinearizable = keys.values.allSatisfy { operations in
                let texts = operations.map {
                    TextUnderKey(kind: $0.kind.kind, start: $0.start, end: $0.end, answer: $0.answer)
                }
                return LinearizabilityChecker.verdict(texts) == .linearizable
            }
            #expect(isLinearizable == recorded.isLinearizable, "\(recorded.name)")
        }
    }

    // MARK: The files

    private struct Recorded {
        var name: String
        var isLinearizable: Bool
        var events: [Substring] = []
    }

    /// What a client asked for: the letter, and what follows it.
    private struct Call {
        var kind: Character
        var words: [String]
    }

    private static func recorded(_ name: String) -> [Recorded] {
        let file = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Histories/\(name)")
        var found: [Recorded] = []
        for line in ((try? String(contentsOf: file, encoding: .utf8)) ?? "").split(separator: "\n") {
            let words = line.split(separator: " ")
            if line.hasPrefix("  "), !found.isEmpty {
                found[found.count - 1].events += words
            } else if words.count == 2 {
                found.append(Recorded(name: String(words[0]), isLinearizable: words[1] == "linearizable"))
            }
        }
        return found
    }

    private static func operations<Kind>(
        of recorded: Recorded,
        _ kind: (Call) -> Kind?
    ) -> [(kind: Kind, start: Int64, end: Int64?, answer: Answer)] {
        var operations: [(kind: Kind, start: Int64, end: Int64?, answer: Answer)] = []
        var open: [Substring: Int] = [:]
        for (moment, event) in recorded.events.enumerated() {
            let client = event.prefix { $0.isNumber }
            guard let letter = event.dropFirst(client.count).first else { continue }
            let rest = event.dropFirst(client.count + 1)
            if let number = open[client], "=!?".contains(letter) {
                open[client] = nil
                operations[number].end = letter == "?" ? nil : Int64(moment)
                operations[number].answer = letter == "=" ? .done(String(rest)) : letter == "!" ? .refused : .unknown
            } else if let kind = kind(Call(kind: letter, words: rest.split { ":,".contains($0) }.map(String.init))) {
                open[client] = operations.count
                operations.append((kind, Int64(moment), nil, .unknown))
            } else {
                Issue.record("\(recorded.name): event '\(event)' is unknown")
            }
        }
        return operations
    }
}

/// How a call ended.
private enum Answer: Hashable {
    case done(String)
    case refused
    case unknown
}

/// A register that can be compared and exchanged.
private struct PlainRegister: RecordedOperation {
    enum Kind: Hashable {
        case read
        case write(Int)
        case exchange(Int, Int)
    }

    static var initial: Int? { nil }

    var kind: Kind
    var start: Int64
    var end: Int64?
    var answer: Answer

    var isVoid: Bool { answer == .unknown && kind == .read }

    func successors(of state: Int?) -> [Int?] {
        switch (kind, answer) {
        case (.read, .done(let text)): (text == "-" ? nil : Int(text)) == state ? [state] : []
        case (.read, _): [state]
        case (.write(let value), _): [value]
        case (.exchange(let old, let new), .done): state == old ? [new] : []
        case (.exchange(let old, _), .refused): state == old ? [] : [state]
        case (.exchange(let old, let new), .unknown): state == old ? [new] : [state]
        }
    }
}

/// A text that grows by pieces.
private struct TextUnderKey: RecordedOperation {
    enum Kind: Hashable {
        case get
        case append(String)
        case put(String)
    }

    static var initial: String { "" }

    var kind: Kind
    var start: Int64
    var end: Int64?
    var answer: Answer

    var isVoid: Bool { answer == .unknown && kind == .get }

    func successors(of state: String) -> [String] {
        switch kind {
        case .get: answer == .done(state) || answer == .unknown ? [state] : []
        case .append(let piece): [state.isEmpty ? piece : state + "," + piece]
        case .put(let text): [text]
        }
    }
}
