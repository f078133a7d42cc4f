import ClusterModel
import Containers
import ControlMessages
import FoundationEssentials
import LinuxSystem

/// The output of containers that are gone: a folder for each incarnation of each job that is remembered.
///
/// A shim writes into its container's folder; when the container is removed, its logs move here by one rename. At most
/// `incarnationLimit` incarnations of a job are kept, so a job that starts ten thousand times does not fill the disk.
struct LogArchive: Sendable {
    let folder: String
    let incarnationLimit = 16

    init(folder: String) { self.folder = folder }

    /// Takes over the logs of a container; nothing there is no error.
    func keep(_ logs: String, of key: ContainerKey) throws {
        guard FileSystem.exists(logs) else { return }
        let jobFolder = "\(folder)/\(key.job)"
        try FileSystem.createFolder(jobFolder, mode: 0o700)
        let target = "\(jobFolder)/\(key.incarnation)"
        try FileSystem.removeAll(target)
        try FileSystem.move(logs, to: target)
        let kept = incarnations(of: key.job)
        for old in kept.dropLast(incarnationLimit) { try FileSystem.removeAll("\(jobFolder)/\(old)") }
    }

    /// Deletes the output of a job that is forgotten.
    func remove(_ job: JobID) throws { try FileSystem.removeAll("\(folder)/\(job)") }

    private func incarnations(of job: JobID) -> [Incarnation] {
        ((try? FileSystem.list("\(folder)/\(job)")) ?? []).compactMap { UInt32($0) }.sorted()
            .map(Incarnation.init(rawValue:))
    }

    /// Hands out lines of all incarnations, oldest first; `present` lists the logs of containers that still exist.
    func read(
        _ query: LogQuery,
        present: @Sendable () -> [(incarnation: Incarnation, folder: String)],
        isOver: @Sendable () async -> Bool,
        _ emit: @Sendable ([WireLogLine]) async throws -> Void
    ) async throws {
        var cursor: (incarnation: Incarnation, position: LogPosition)?
        if let count = query.tailLineCount { cursor = try await emitTail(count, query, present, emit) }
        while true {
            // Asked before reading, so that what a job wrote at its end is not missed.
            let isLast = query.follows ? await isOver() : true
            var isIdle = true
            var hasMoved = false
            for (incarnation, folder) in folders(of: query.job, present) {
                if let cursor, incarnation < cursor.incarnation { continue }
                var position = cursor?.incarnation == incarnation ? cursor?.position ?? .beginning : .beginning
                let reader = LogReader(folder: folder) { false }
                while true {
                    let lines = reader.next(&position)
                    cursor = (incarnation, position)
                    if lines.isEmpty { break }
                    isIdle = false
                    let wanted = lines.filter(query.wants).map(\.wire)
                    if !wanted.isEmpty { try await emit(wanted) }
                }
                // A container that was removed meanwhile took its logs with it, into the archive: the rest is read there.
                hasMoved = hasMoved || !FileSystem.exists(folder)
            }
            if isLast && !hasMoved { return }
            if isIdle { try await Task.sleep(for: .milliseconds(100)) }
        }
    }

    private func folders(
        of job: JobID,
        _ present: () -> [(incarnation: Incarnation, folder: String)]
    ) -> [(incarnation: Incarnation, folder: String)] {
        let there = present()
        let archived = incarnations(of: job).filter { one in !there.contains { $0.incarnation == one } }
        return (archived.map { ($0, "\(folder)/\(job)/\($0)") } + there).sorted { $0.incarnation < $1.incarnation }
    }

    private func emitTail(
        _ count: Int,
        _ query: LogQuery,
        _ present: () -> [(incarnation: Incarnation, folder: String)],
        _ emit: ([WireLogLine]) async throws -> Void
    ) async throws -> (Incarnation, LogPosition)? {
        var batches: [[LogLine]] = []
        var missing = count
        var end: (Incarnation, LogPosition)?
        for (incarnation, folder) in folders(of: query.job, present).reversed() {
            // A stream that is not wanted takes part of what is looked through, so more is looked through than asked for.
            let factor = query.includesOutput && query.includesErrors ? 1 : 8
            let (lines, position) = try LogReader(folder: folder) { false }.tail(max(1, missing) * factor)
            if end == nil { end = (incarnation, position) }
            let wanted = lines.filter(query.wants).suffix(missing)
            batches.append(Array(wanted))
            missing -= wanted.count
            if missing <= 0 { break }
        }
        for batch in batches.reversed() where !batch.isEmpty {
            for start in stride(from: 0, to: batch.count, by: 500) {
                try await emit(batch[start..<min(start + 500, batch.count)].map(\.wire))
            }
        }
        return end
    }
}

extension LogQuery {
    func wants(_ line: LogLine) -> Bool { line.stream == .standardError ? includesErrors : includesOutput }
}

extension LogLine {
    /// The line as it travels.
    var wire: WireLogLine {
        var message = WireLogLine()
        message.timeUnixSeconds = writtenAt.seconds
        message.isStderr = stream == .standardError
        message.text = Data(bytes)
        message.isPartial = isPartial
        return message
    }
}
