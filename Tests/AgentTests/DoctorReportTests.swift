import ClusterModel
import Foundation
import Testing

@testable import Agent

/// What `godwitd doctor` tells people and programs.
struct DoctorReportTests {
    private static let reports: [CapabilityReport] = [
        .present("runc", "1.1.15 at /usr/bin/runc", isRequired: true),
        .absent(
            "criu",
            "not found",
            cost: "Jobs cannot be checkpointed.",
            remedy: "Install CRIU 4.2 or newer."
        ),
        .absent(
            "cgroup.memory",
            "the controller is off",
            cost: "Containers cannot run.",
            remedy: "Boot with \"cgroup_enable=memory\".",
            isRequired: true
        ),
    ]

    @Test func theTableNamesWhatIsMissingWhatItCostsAndTheRemedy() {
        #expect(
            DoctorReport.table(Self.reports) == """
                ok       runc           1.1.15 at /usr/bin/runc
                missing  criu           not found
                         costs: Jobs cannot be checkpointed.
                         remedy: Install CRIU 4.2 or newer.
                MISSING  cgroup.memory  the controller is off
                         costs: Containers cannot run.
                         remedy: Boot with "cgroup_enable=memory".

                1 of 3 capabilities are there; 1 that containers need are missing.

                """
        )
        #expect(
            DoctorReport.table([Self.reports[0], Self.reports[1]]).hasSuffix(
                "\n1 of 2 capabilities are there; containers can run here.\n"
            )
        )
    }

    @Test func programsGetTheSame() throws {
        let json = DoctorReport.json(Self.reports)
        let objects = try #require(try JSONSerialization.jsonObject(with: Data(json.utf8)) as? [[String: Any]])
        #expect(objects.map { $0["name"] as? String } == ["runc", "criu", "cgroup.memory"])
        #expect(objects.map { $0["isPresent"] as? Bool } == [true, false, false])
        #expect(objects.map { $0["isRequired"] as? Bool } == [true, false, true])
        #expect(objects[2]["remedy"] as? String == "Boot with \"cgroup_enable=memory\".")
        #expect(objects.allSatisfy { $0.count == 6 })
    }

    @Test func anEmptyReportIsStillOne() throws {
        #expect(DoctorReport.table([]) == "\n0 of 0 capabilities are there; containers can run here.\n")
        #expect(DoctorReport.json([]) == "[]\n")
    }
}
