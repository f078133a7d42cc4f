import ClusterModel
import LinuxSystem
import Testing

@Suite struct NodeProbeTests {
    @Test func `finds what this machine has, and what each missing thing costs`() async throws {
        let result = await NodeProbe().run()
        let reports = result.capabilities
        #expect(Set(reports.map(\.name)).count == reports.count)
        for report in reports {
            #expect(!report.detail.isEmpty, "\(report.name)")
            #expect(report.isPresent == report.cost.isEmpty, "\(report.name)")
            #expect(report.isPresent == report.remedy.isEmpty, "\(report.name)")
            for sentence in [report.cost, report.remedy] where !sentence.isEmpty {
                #expect(sentence.hasSuffix("."), "\(report.name): \(sentence)")
            }
        }
        func isPresent(_ name: String) -> Bool? { reports.first { $0.name == name }?.isPresent }
        for name in [
            "kernel", "cgroup", "cgroup.cpu", "cgroup.freezer", "cgroup.write", "overlayfs", "capability.sysAdmin",
        ] {
            #expect(isPresent(name) == true, "\(name)")
        }
        #expect(isPresent("runc") == true, "these tests need runc: apt install runc")
        #expect(result.facts.runc?.version ?? VersionNumber(0, 0) >= VersionNumber(1, 0))
        #expect(result.facts.memory > .zero && result.facts.cgroups != nil)
    }

    @Test func `a machine without anything is reported, not failed on`() async throws {
        let folder = try TemporaryFolder()
        var configuration = NodeProbe.Configuration()
        configuration.runc = "/absent/runc"
        configuration.criu = ["/absent/criu"]
        configuration.skopeo = "/absent/skopeo"
        configuration.umoci = "/absent/umoci"
        configuration.tar = "/absent/tar"
        configuration.cgroupRoot = folder.path
        configuration.fastFolder = "/usr"
        let reports = await NodeProbe(configuration).run().capabilities
        for name in ["runc", "criu", "skopeo", "umoci", "tar", "cgroup", "tmpfs"] {
            let report = try #require(reports.first { $0.name == name })
            #expect(!report.isPresent && !report.remedy.isEmpty, "\(name)")
        }
    }

    @Test func `a CRIU that hangs, fails or is too old is named with its fault`() async throws {
        let folder = try TemporaryFolder()
        func criu(_ name: String, version: String, check: String) throws -> String {
            let script = """
                #!/bin/sh
                case "$1" in --version) echo "Version: \(version)";; *) \(check);; esac
                """
            try FileSystem.writeAtomically(script, to: folder(name), mode: 0o755)
            return folder(name)
        }
        let old = try criu("old", version: "2.6", check: "echo 'Looks good.'")
        let broken = try criu(
            "broken",
            version: "99.0",
            check: "echo 'Warn x'; echo 'Error (a.c:1): vdso' >&2; echo 'Error b' >&2; exit 1"
        )
        let hanging = try criu("hanging", version: "99.0", check: "exec sleep 60")
        let good = try criu("good", version: "99.0", check: "[ -z \"$3\" ] || [ \"$3\" = uffd-noncoop ]")

        // Only the one that hangs is to meet its limit: on a busy machine the others may take their time.
        func probe(_ paths: [String], timeLimit: Duration = .seconds(60)) async -> CRIUFacts? {
            var configuration = NodeProbe.Configuration()
            configuration.criu = paths
            configuration.timeLimit = timeLimit
            return await NodeProbe(configuration).run().facts.criu
        }
        let tooOld = await probe([old])
        #expect(tooOld?.works == false && tooOld?.complaint.contains("older than") == true)
        #expect(await probe([broken])?.complaint == "Error (a.c:1): vdso")
        #expect(await probe([hanging], timeLimit: .seconds(2))?.complaint.contains("no answer") == true)
        let best = await probe([old, broken, good])
        #expect(best?.works == true && best?.tool.path == good)
        #expect(best?.hasLazyPages == true)
    }

    @Test func `newer kernels need newer versions of CRIU`() {
        #expect(NodeProbe.minimumCRIU(for: VersionNumber(6, 18, 44)) == VersionNumber(4, 2))
        #expect(NodeProbe.minimumCRIU(for: VersionNumber(6, 16)) == VersionNumber(4, 2))
        #expect(NodeProbe.minimumCRIU(for: VersionNumber(6, 13)) == VersionNumber(4, 1))
        #expect(NodeProbe.minimumCRIU(for: VersionNumber(6, 1)) == VersionNumber(3, 17))
    }

    @Test(arguments: [
        ("runc version 1.1.5+ds1", VersionNumber(1, 1, 5)), ("Version: 4.2.1", VersionNumber(4, 2, 1)),
        ("tar (GNU tar) 1.34", VersionNumber(1, 34)), ("umoci version 0.4.7+ds-3+b7", VersionNumber(0, 4, 7)),
        ("GitID: v4.2", VersionNumber(4, 2)),
    ])
    func `versions in what programs say about themselves`(banner: String, version: VersionNumber) {
        #expect(NodeProbe.version(in: banner) == version)
    }
}
