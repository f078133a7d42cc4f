import Checkpointing
import ClusterModel
import ClusterState

// Frames for the job's address: where they go, and who gets what was held.
extension MigrationSimulation {
    /// Somebody sends a frame to the job's address: it goes to where the address was said to be, or to whoever is reached when it is not taken there.
    mutating func sendFrame() {
        let order = [way] + machines.indices.filter { $0 != way }
        guard machines.contains(where: { !$0.containers.isEmpty }) else { return }
        let frame = report.frames
        report.frames += 1
        for machine in order {
            for index in machines[machine].containers.indices.reversed() {
                if machines[machine].containers[index].hold != nil {
                    machines[machine].containers[index].hold?.append(frame)
                    return
                }
                if machines[machine].containers[index].isOpen {
                    machines[machine].containers[index].received.append(frame)
                    return
                }
            }
        }
        // It is lost, and sent again.
    }

    /// Lets frames reach a container and says that it is here.
    mutating func open(_ machine: Int, _ incarnation: Incarnation) {
        guard hasAddress, let index = machines[machine].container(incarnation) else { return }
        machines[machine].unlock(index)
        way = machine
    }

    /// The source's part ends, once.
    mutating func giveFrames(_ machine: Int, _ incarnation: Incarnation) {
        guard machines[machine].agent?.given == nil else { return }
        let held = machines[machine].leaveNetwork(incarnation)
        machines[machine].agent?.given = held
    }

    /// Whether the source does not know yet that it has handed over.
    func isFrameSourceComing(_ machine: Int, _ record: JobRecord?) -> Bool {
        guard let migration = record?.migration, machines[machine].isReached,
            let source = machines.first(where: { $0.node == migration.source }), source.isReached,
            let request = source.agent?.source?.request, request.number == migration.number
        else { return false }
        return source.agent?.offer == nil
    }

    /// The destination asks the source for what it holds; false when it cannot have it.
    mutating func takeFrames(_ machine: Int, _ record: JobRecord?) -> Bool {
        guard let migration = record?.migration, machines[machine].isReached,
            let source = machines.firstIndex(where: { $0.node == migration.source }), machines[source].isReached,
            let offer = machines[source].agent?.offer, offer.number == machines[machine].agent?.destinationMove,
            offer.to == machines[machine].node, let incarnation = restoredIncarnation(machine, record),
            let index = machines[machine].container(incarnation)
        else { return false }
        giveFrames(source, migration.incarnation)
        let held = machines[source].agent?.given ?? []
        machines[machine].containers[index].received += held
        return true
    }

    /// The container runs on where it was, and gets what the destination was given.
    mutating func takeNetworkBack(_ machine: Int, _ incarnation: Incarnation) {
        guard hasAddress, let index = machines[machine].container(incarnation) else { return }
        way = machine
        let held = machines[machine].agent?.given ?? []
        machines[machine].containers[index].received += held
    }

    /// What a kernel has acknowledged is never lost, and no container gets a frame twice.
    mutating func checkFrames(_ step: Int) {
        guard hasAddress, report.violation == nil else { return }
        for machine in machines {
            for container in machine.containers where step % 40 == 0 {
                guard Set(container.received).count != container.received.count else { continue }
                report.violation = "step \(step): \(container.incarnation) on \(machine.node) got a frame twice"
            }
            guard let mark = machine.mark, let index = machine.container(mark.incarnation),
                machine.containers[index].isFrozen, let dumped = dumped[mark.number],
                machines.contains(where: { $0.containers.contains { $0.move == mark.number } })
            else { continue }
            if machine.containers[index].received.count != dumped.count {
                report.violation = "step \(step): \(mark.incarnation) on \(machine.node) took frames after its dump"
            }
        }
    }
}
