import Glibc
import LinuxSystem

/// New lines of many growing files, looked at often: how both sides' agents are listened to, so that both are heard equally late.
final class LogTail {
    private struct File {
        var number: Int
        var descriptor: Int32
        var offset = 0
        var rest: [UInt8] = []
    }

    private var files: [File] = []

    deinit { for file in files { close(file.descriptor) } }

    /// Listens to a file from its beginning; it must exist.
    func add(_ number: Int, _ path: String) throws {
        files.append(File(number: number, descriptor: try OwnedDescriptor(opening: path, O_RDONLY).release()))
    }

    /// The whole lines that were added since the last look, with the number of their file.
    func newLines() -> [(number: Int, line: String)] {
        var lines: [(Int, String)] = []
        var bytes = [UInt8](repeating: 0, count: 64 << 10)
        for index in files.indices {
            while true {
                let (descriptor, offset) = (files[index].descriptor, files[index].offset)
                let count = unsafe bytes.withUnsafeMutableBytes {
                    unsafe pread(descriptor, $0.baseAddress, $0.count, offset)
                }
                guard count > 0 else { break }
                files[index].offset += count
                files[index].rest += bytes.prefix(count)
            }
            while let end = files[index].rest.firstIndex(of: UInt8(ascii: "\n")) {
                lines.append((files[index].number, String(decoding: files[index].rest[..<end], as: UTF8.self)))
                files[index].rest.removeSubrange(...end)
            }
        }
        return lines
    }
}
