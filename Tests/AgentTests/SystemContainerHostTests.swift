import AgentConfiguration
import ClusterModel
import Containers
import Testing

@testable import Agent

/// What the configuration says reaches those who run containers, and how a container ended is told as it was.
struct SystemContainerHostTests {
    @Test func everySettingOfContainersIsHonoured() {
        var configuration = AgentConfiguration(role: .worker)
        configuration.folders.state = "/s"
        configuration.folders.runtime = "/r"
        configuration.programs.runc = "/opt/runc"
        configuration.programs.shim = "/opt/shim"
        configuration.programs.umoci = "/opt/umoci"
        configuration.programs.skopeo = "/opt/skopeo"
        configuration.containerLogs.fileSize = .mebibytes(3)
        configuration.containerLogs.fileCount = 7
        configuration.images.pullTimeout = .seconds(77)
        let containers = SystemContainerHost.containersConfiguration(configuration)
        #expect(containers.stateFolder == "/s")
        #expect(containers.runtimeFolder == "/r")
        #expect(containers.runc == "/opt/runc")
        #expect(containers.shim == "/opt/shim")
        #expect(containers.umoci == "/opt/umoci")
        #expect(containers.skopeo == "/opt/skopeo")
        #expect(containers.logFileLimit == .mebibytes(3))
        #expect(containers.logFileCount == 7)
        #expect(containers.imageTimeout == .seconds(77))
        configuration.programs.shim = ""
        #expect(SystemContainerHost.containersConfiguration(configuration).shim == nil)
    }

    @Test func exitsAreTranslated() {
        func exit(_ cause: Containers.ContainerExit.Cause, kills: Int = 0) -> ClusterModel.ContainerExit {
            SystemContainerHost.exit(.init(cause: cause, endedAt: .epoch, memoryKillCount: kills))
        }
        #expect(exit(.code(0)) == .exited(code: 0))
        #expect(exit(.code(3)) == .exited(code: 3))
        #expect(exit(.signal(15)) == .signalled(number: 15, isOutOfMemory: false))
        #expect(exit(.signal(9), kills: 1) == .signalled(number: 9, isOutOfMemory: true))
        #expect(exit(.unknown) == .lost)
        // A shell reports the death of its child as 128 + 9.
        #expect(exit(.code(137), kills: 1) == .signalled(number: 9, isOutOfMemory: true))
        #expect(exit(.code(137)) == .exited(code: 137))
        // A child was killed, and the job went on and succeeded.
        #expect(exit(.code(0), kills: 1) == .exited(code: 0))
    }
}
