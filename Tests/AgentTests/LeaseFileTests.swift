import AgentConfiguration
import ClusterModel
import Containers
import Glibc
import LinuxSystem
import Testing

@testable import Agent

/// What the agent writes is what the shims read (`FenceTests` of the containers proves that they do what it says).
struct LeaseFileTests {
    private func withFolder(_ body: (String) throws -> Void) throws {
        let folder = "/tmp/godwit-lease-test-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"
        try FileSystem.createFolder(folder, mode: 0o700)
        defer { try? FileSystem.removeAll(folder) }
        try body(folder)
    }

    @Test func theLineIsTheOneThatShimsUnderstand() throws {
        try withFolder { folder in
            let file = LeaseFile(path: "\(folder)/lease")
            #expect(try file.read() == nil)
            try file.extend(untilNanoseconds: 12_345)
            #expect(try FileSystem.readText(file.path) == "boot \(Machine.bootID) until 12345\n")
            #expect(try file.read() == .until(nanoseconds: 12_345))
            try file.setUnlimited()
            #expect(try FileSystem.readText(file.path) == "none\n")
            #expect(try file.read() == .unlimited)
            #expect(FileSystem.status(file.path)?.mode == 0o600)
        }
    }

    @Test func theContainersOfAnAgentAreBoundToItsFile() {
        var configuration = AgentConfiguration(role: .worker)
        configuration.folders.runtime = "/r"
        #expect(LeaseFile(configuration).path == "/r/lease")
        #expect(SystemContainerHost.containersConfiguration(configuration).leaseFile == "/r/lease")
    }

    @Test func aMomentIsWrittenByTheClockThatGoesOnInSuspension() throws {
        try withFolder { folder in
            let file = LeaseFile(path: "\(folder)/lease")
            let before = BootClock.nanoseconds()
            try file.extend(until: .now + .seconds(30))
            let after = BootClock.nanoseconds()
            guard case .until(let end) = try file.read() else {
                Issue.record("no end was written")
                return
            }
            let length = Duration.seconds(30).nanoseconds
            // Two clocks are read one after the other.
            #expect(end > before + length - 10_000_000 && end < after + length + 10_000_000)
        }
    }

    @Test func aPromiseIsNeverTakenBackByALateWriter() throws {
        try withFolder { folder in
            let file = LeaseFile(path: "\(folder)/lease")
            try file.extend(untilNanoseconds: 2_000)
            try file.extend(untilNanoseconds: 1_000)
            #expect(try file.read() == .until(nanoseconds: 2_000))
            // A node that joins a cluster gets an end, however short; so does one whose agent is new.
            try file.setUnlimited()
            try file.extend(untilNanoseconds: 500)
            #expect(try file.read() == .until(nanoseconds: 500))
            try LeaseFile(path: file.path).extend(untilNanoseconds: 400)
            #expect(try file.read() == .until(nanoseconds: 400))
        }
    }

    @Test func whatAnotherBootLeftIsNoLease() throws {
        try withFolder { folder in
            let file = LeaseFile(path: "\(folder)/lease")
            let texts: [(String, LeaseFile.Lease?)] = [
                ("boot 00000000-0000-0000-0000-000000000000 until 99\n", .otherBoot),
                ("boot \(Machine.bootID) until soon\n", nil), ("", nil),
            ]
            for (text, lease) in texts {
                try FileSystem.replace(file.path, with: text)
                #expect(try file.read() == lease, "\(text)")
            }
        }
    }

    @Test func aFileSystemThatOthersFilledStillTakesTheNextEnd() throws {
        try withFolder { folder in
            try Mounts.tmpfs(on: folder, size: .mebibytes(1))
            defer { try? Mounts.unmount(folder, isLazy: true) }
            let file = LeaseFile(path: "\(folder)/lease")
            for end in [1, 2] as [Int64] { try file.extend(untilNanoseconds: end) }
            let ballast = try FileSystem.create("\(folder)/ballast", mode: 0o600)
            let isFull = #expect(throws: SystemError.self) {
                while true { try ballast.write([UInt8](repeating: 7, count: 4096), path: "ballast") }
            }
            #expect(isFull?.symbol == "ENOSPC")
            for end in [1_000, 1_000_000_000_000] as [Int64] {
                try file.extend(untilNanoseconds: end)
                #expect(try file.read() == .until(nanoseconds: end))
            }
        }
    }

    @Test func aFailureIsToldWithItsPlaceAndTriedAgain() throws {
        try withFolder { folder in
            let file = LeaseFile(path: "\(folder)/run/lease")
            let error = #expect(throws: SystemError.self) { try file.extend(untilNanoseconds: 7) }
            #expect(error.map { "\($0)".contains("\(folder)/run/lease") } == true)
            try FileSystem.createFolder("\(folder)/run", mode: 0o700)
            try file.extend(untilNanoseconds: 7)
            #expect(try file.read() == .until(nanoseconds: 7))
        }
    }
}
