internal import Glibc

/// A small kernel file that is read again and again: it stays open, and a reading is one pread(2).
///
/// Shared freely: readings at the same time do not disturb each other, since none moves a position.
package final class KeptFile: Sendable {
    private let descriptor: OwnedDescriptor
    /// Where it was opened.
    package let path: String

    /// Opens it for reading.
    package init(_ path: String) throws(SystemError) {
        descriptor = try OwnedDescriptor(opening: path, O_RDONLY)
        self.path = path
    }

    /// Opens it, or gives nil when this kernel has no such file or has it switched off.
    package static func ifPresent(_ path: String?) throws(SystemError) -> KeptFile? {
        guard let path else { return nil }
        do throws(SystemError) { return try KeptFile(path) } catch  where error.isAbsent || error.code == EOPNOTSUPP {
            return nil
        }
    }

    /// Reads from the beginning into a buffer of the caller.
    ///
    /// - Parameter buffer: as long as the file can become; what does not fit is not read.
    /// - Returns: how many bytes came.
    /// - Throws: ``SystemError`` with ENODEV when it is a file of a cgroup that has been removed.
    package func read(into buffer: inout [UInt8]) throws(SystemError) -> Int {
        let number = descriptor.rawValue
        return try retrying("read", path) {
            unsafe buffer.withUnsafeMutableBytes { unsafe pread(number, $0.baseAddress, $0.count, 0) }
        }
    }

    /// Reads from the beginning, or gives nil when the file has been switched off (EOPNOTSUPP; `cgroup.pressure`).
    package func readIfOn(into buffer: inout [UInt8]) throws(SystemError) -> Int? {
        do throws(SystemError) { return try read(into: &buffer) } catch  where error.code == EOPNOTSUPP { return nil }
    }
}
