import Checkpointing
import ClusterModel
import Foundation
import ImageStore
import Testing

/// A folder of a test's own that is gone when the test ends.
final class Scratch: Sendable {
    let path: String

    init(in parent: String = NSTemporaryDirectory()) throws {
        path = URL(filePath: parent).appending(path: "godwit-images-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func callAsFunction(_ name: String) -> String { "\(path)/\(name)" }

    func write(_ bytes: [UInt8], to name: String, mode: Int = 0o600) throws {
        let file = URL(filePath: self(name))
        try FileManager.default.createDirectory(at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
        try Data(bytes).write(to: file)
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: file.path)
    }
}

/// What a tree of files looks like: content and mode by name.
struct Tree: Equatable {
    struct Entry: Equatable {
        var content: [UInt8]?
        var mode: Int
    }
    var entries: [String: Entry] = [:]

    init(_ folder: String) throws {
        let files = FileManager.default
        for name in try files.subpathsOfDirectory(atPath: folder) {
            let attributes = try files.attributesOfItem(atPath: "\(folder)/\(name)")
            let isFolder = attributes[.type] as? FileAttributeType == .typeDirectory
            entries[name] = Entry(
                content: isFolder ? nil : Array(try Data(contentsOf: URL(filePath: "\(folder)/\(name)"))),
                mode: attributes[.posixPermissions] as? Int ?? -1
            )
        }
    }
}

let job = JobID(rawValue: "abcdefghijkl")

func generation(_ number: UInt32) -> CheckpointGeneration { CheckpointGeneration(rawValue: number) }

func source(
    _ number: UInt32,
    images: String,
    layer: String? = nil,
    of owner: JobID = job
) -> ImageSource {
    ImageSource(
        job: owner,
        incarnation: Incarnation(rawValue: 2),
        generation: generation(number),
        taken: Timestamp(seconds: 1_700_000_000 + Double(number)),
        ledger: .seconds(Int64(number)),
        frozen: .milliseconds(350),
        elapsed: .milliseconds(500),
        imagesFolder: images,
        layerArchive: layer
    )
}

/// Bytes that no compression makes smaller.
func noise(_ count: Int, seed: UInt64) -> [UInt8] {
    var generator = SeededGenerator(seed: seed)
    let words = (0..<(count + 7) / 8).map { _ in generator.next().littleEndian }
    return unsafe words.withUnsafeBytes { unsafe Array($0.prefix(count)) }
}

/// Bytes that LZ4 makes much smaller.
func text(_ count: Int) -> [UInt8] {
    let line = Array("the bar-tailed godwit flies far. ".utf8)
    let period = 8 * 4096
    let pages = (0..<min(count, period)).map { line[$0 % line.count] ^ UInt8(truncatingIfNeeded: $0 / 4096 & 7) }
    return Array((0...count / period).flatMap { _ in pages }.prefix(count))
}

/// No space is held back, two threads: small stores on any machine.
let plain = ImageStoreConfiguration(workerThreads: 2, reserve: .zero)

/// Waits for an error of the store, and gives it.
func storeError(
    sourceLocation: SourceLocation = #_sourceLocation,
    _ body: () async throws -> some Any
) async -> ImageStoreError? {
    do {
        _ = try await body()
        Issue.record("no error was thrown", sourceLocation: sourceLocation)
    } catch let error as ImageStoreError {
        return error
    } catch {
        Issue.record("\(error) is not an error of the store", sourceLocation: sourceLocation)
    }
    return nil
}
