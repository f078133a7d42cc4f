package import ClusterModel

// Addresses that jobs have for themselves: who has which, and which comes next.
extension ClusterState {
    /// Every address that a job has or has asked for, and that nobody else may have.
    package var usedAddresses: Set<IPv4Address> {
        Set(liveJobs.compactMap { $0.address?.address ?? $0.specification.network?.address })
    }

    /// Why a job that has an address of its own cannot begin on a node that offers this; nil when it can, and for all other jobs.
    package func addressObstacle(to record: JobRecord, on network: NodeNetwork?) -> String? {
        guard let wanted = record.specification.network else { return nil }
        guard let network else {
            return "the node has no bridge for containers with an address of their own (network.bridge)"
        }
        if let address = record.address {
            let isThere = network.subnet == address.network && network.hasRoom(for: address.address)
            return isThere ? nil : "it has the address \(address), and the node's bridge is in \(network.subnet)"
        }
        if let address = wanted.text {
            return wanted.fits(network)
                ? nil : "it asks for the address \(address), and the node's bridge is in \(network.subnet)"
        }
        guard network.lowestFree(except: usedAddresses) == nil else { return nil }
        return "all addresses of the node's range \(network.range) are taken"
    }

    mutating func begin(
        _ job: JobID,
        on node: NodeID,
        offering network: NodeNetwork?,
        at time: Timestamp
    ) throws(Refusal) -> Acceptance {
        guard let record = records[job], let wanted = record.specification.network else {
            return try change(job, at: time) { (change) throws(Refusal) in try change.begin(on: node) }
        }
        let obstacle = addressObstacle(to: record, on: network)
        let address = record.address?.address ?? wanted.address ?? network?.lowestFree(except: usedAddresses)
        return try change(job, at: time) { (change) throws(Refusal) in
            guard obstacle == nil, let address, let network else {
                throw change.refuse(
                    obstacle ?? "no address is free",
                    "Choose another node, or widen its network.range."
                )
            }
            change.record.address = IPv4Prefix(address, length: network.subnet.length)
            try change.begin(on: node)
        }
    }

    /// Refuses a submission that names the address of another job.
    func requireFree(_ network: JobSpecification.Network) throws(Refusal) {
        guard let address = network.address,
            let holder = liveJobs.first(where: {
                ($0.address?.address ?? $0.specification.network?.address) == address
            })
        else { return }
        throw Refusal(
            .conflict,
            "The address \(address) belongs to job '\(holder.specification.name)' (\(holder.id)), which has not ended. Name another, write "
                + "`address: automatic`, or end that job with `godwit job cancel \(holder.specification.name)`."
        )
    }

    /// Accepts what came with a version that no node has spoken of, because none has registered: the agent itself knows it.
    mutating func acceptAlone(_ command: Command) throws(Refusal) -> Acceptance {
        let before = version
        version = max(version, command.requiredVersion)
        do throws(Refusal) { return try accept(command, isKnown: true) } catch {
            version = before
            throw error
        }
    }
}
