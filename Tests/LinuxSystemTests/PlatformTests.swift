import ClusterModel
import LinuxSystem
import ResourceSamples
import Testing

@testable import LinuxSystem

/// What a machine says of itself is what its kernel says.
struct PlatformTests {
    @Test func everyNumberedFeatureHasItsPlaceInCPUID() {
        #expect(Set(CPUIDBit.all.keys) == Set(ProcessorFeatures.names(of: "amd64")))
        for architecture in ["amd64", "arm64"] {
            let names = ProcessorFeatures.names(of: architecture)
            #expect(Set(names).count == names.count)
        }
    }

    /// The kernel may hide a flag that the processor has, or not know it; it never shows one that programs do not find.
    @Test func theFeaturesOfThisMachineHoldWhatTheKernelNames() async throws {
        let facts = await NodeProbe().run().facts
        let platform = facts.platform
        #expect(["amd64", "arm64"].contains(platform.architecture))
        #expect(platform.kernel == NodePlatform.Version(facts.kernel.major, facts.kernel.minor))
        let named = ProcessorFeatures(facts.processorFlags, architecture: platform.architecture)
        #expect(named.count > 5)
        let missing = named.subtracting(platform.features).names(architecture: platform.architecture)
        #expect(missing.isEmpty)
        if platform.architecture == "amd64" {
            // The legacy area and the header.
            #expect(platform.stateSize >= 576 && platform.stateSize < 1 << 20)
            #expect(platform.features.names(architecture: "amd64").contains("sse2"))
        }
    }
}
