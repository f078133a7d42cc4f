import Foundation
import GRDBSQLite
import Glibc
import Synchronization

/// Stands between SQLite and the files of watched folders: knows what a power cut now would leave, and breaks flushes on demand.
///
/// A file system of SQLite's (`sqlite3_vfs`) that does everything as the usual one does, and is the default one of this process from its
/// first use on; files of folders that nobody watches are left alone.
enum FlushRecorder {
    private struct Watched {
        /// Files as they were when they were last flushed, by name.
        var flushed: [String: Data] = [:]
        var flushes = 0
        var isBroken = false
    }

    private struct Recorder {
        var folders: [String: Watched] = [:]
        /// Paths of open files, by the address of SQLite's handle.
        var paths: [UInt: String] = [:]
        /// Addresses of their functions in the usual file system.
        var usualMethods: [UInt: UInt] = [:]
    }

    private static let recorder = Mutex(Recorder())

    /// The functions of a file, with the flush replaced; all files of the usual file system share one `xSync`.
    nonisolated(unsafe) private static let usual = unsafe sqlite3_vfs_find(nil)
    nonisolated(unsafe) private static var usualSync:
        (@convention(c) (UnsafeMutablePointer<sqlite3_file>?, CInt) -> CInt)?

    private static let install: Void = {
        guard let usual = unsafe usual else { return }
        let own = UnsafeMutablePointer<sqlite3_vfs>.allocate(capacity: 1)
        unsafe own.initialize(to: usual.pointee)
        unsafe own.pointee.zName = UnsafePointer(strdup("godwit-flushes"))
        unsafe own.pointee.pNext = nil
        unsafe own.pointee.xOpen = { _, name, file, flags, outFlags in
            let code = unsafe FlushRecorder.usual?.pointee.xOpen(FlushRecorder.usual, name, file, flags, outFlags)
            if code == SQLITE_OK, let name = unsafe name, let file = unsafe file {
                unsafe FlushRecorder.opened(file, path: String(cString: name))
            }
            return code ?? SQLITE_CANTOPEN
        }
        unsafe sqlite3_vfs_register(own, 1)
    }()

    /// Watches a folder from now on: files that are opened in it later.
    static func watch(_ folder: String) {
        _ = install
        recorder.withLock { $0.folders[folder] = Watched() }
    }

    static func flushes(in folder: String) -> Int { recorder.withLock { $0.folders[folder]?.flushes ?? 0 } }

    /// Makes every flush in a folder fail, or succeed again.
    static func breakFlushes(_ isBroken: Bool, in folder: String) {
        recorder.withLock { $0.folders[folder]?.isBroken = isBroken }
    }

    /// Makes a folder that holds what would be left of another after a power cut: of each file, what was flushed, and nothing more.
    static func cutPower(of folder: String, into copy: String) throws {
        let files = recorder.withLock { $0.folders[folder]?.flushed ?? [:] }
        try FileManager.default.createDirectory(atPath: copy, withIntermediateDirectories: true)
        // The journal of the time before the WAL is gone for good: SQLite flushes the folder when it has made the WAL.
        for (name, bytes) in files where FileManager.default.fileExists(atPath: "\(folder)/\(name)") {
            try bytes.write(to: URL(filePath: "\(copy)/\(name)"))
        }
    }

    private static func opened(_ file: UnsafeMutablePointer<sqlite3_file>, path: String) {
        let folder = URL(filePath: path).deletingLastPathComponent().path
        let isWatched = recorder.withLock { recorder in
            guard recorder.folders[folder] != nil else { return false }
            recorder.paths[UInt(bitPattern: file)] = path
            return true
        }
        guard isWatched, let methods = unsafe file.pointee.pMethods else { return }
        // One for each file that a test opens; they live as long as the process.
        let own = UnsafeMutablePointer<sqlite3_io_methods>.allocate(capacity: 1)
        unsafe own.initialize(to: methods.pointee)
        recorder.withLock { $0.usualMethods[UInt(bitPattern: file)] = UInt(bitPattern: methods) }
        unsafe own.pointee.xSync = { file, flags in unsafe FlushRecorder.sync(file, flags) }
        unsafe file.pointee.pMethods = UnsafePointer(own)
    }

    private static func sync(_ file: UnsafeMutablePointer<sqlite3_file>?, _ flags: CInt) -> CInt {
        let (path, methods) = recorder.withLock { recorder in
            let path = recorder.paths[UInt(bitPattern: file)]
            let folder = path.map { URL(filePath: $0).deletingLastPathComponent().path }
            let isBroken = folder.flatMap { recorder.folders[$0]?.isBroken } == true
            return (isBroken ? nil : path, recorder.usualMethods[UInt(bitPattern: file)] ?? 0)
        }
        guard let path, let usual = unsafe UnsafePointer<sqlite3_io_methods>(bitPattern: methods) else {
            return SQLITE_IOERR | 4 << 8
        }
        let code = unsafe usual.pointee.xSync(file, flags)
        guard code == SQLITE_OK, let bytes = try? Data(contentsOf: URL(filePath: path)) else { return code }
        let url = URL(filePath: path)
        recorder.withLock { recorder in
            recorder.folders[url.deletingLastPathComponent().path]?.flushed[url.lastPathComponent] = bytes
            recorder.folders[url.deletingLastPathComponent().path]?.flushes += 1
        }
        return code
    }
}
