package import ClusterModel

/// How one checkpoint is to be taken.
package struct CheckpointOptions: Sendable {
    /// What becomes of the container when everything has been captured.
    package enum Afterwards: Sendable {
        /// It runs on at once.
        case thaw
        /// It stays frozen, without quota, until `thaw(_:)` or `kill(_:)`: for a caller that must store the images first.
        case stayFrozen
        /// It is killed; its exit is recorded as signal 9.
        case kill
    }

    /// An empty or missing folder, best in memory (tmpfs); it receives `images/`, `work/`, `container.json` and perhaps `layer.tar`.
    package var folder: String
    package var afterwards: Afterwards
    /// Whether established TCP connections are kept.
    ///
    /// They can go on after a restore only if `afterwards` is `kill`; otherwise their peers have seen them go on, or end, meanwhile.
    package var tcpEstablished: Bool

    /// Where the memory is put that a lazy dump leaves in the container; nil when the dump is not lazy.
    var frozenMemory: FrozenMemorySlot?

    package init(folder: String, afterwards: Afterwards = .thaw, tcpEstablished: Bool = false) {
        (self.folder, self.afterwards, self.tcpEstablished) = (folder, afterwards, tcpEstablished)
    }

    /// Whether CRIU itself ends the container: on the node's network the only way in which its connections can go on after a restore.
    var endsInCRIU: Bool { tcpEstablished && afterwards == .kill }
}

/// A checkpoint as it lies in its folder.
package struct CheckpointDump: Sendable, Equatable {
    /// Where it lies: the folder that `CheckpointOptions` named.
    package var folder: String
    /// CRIU's images.
    package var imagesBytes: ByteCount
    /// The captured writable layer; zero when nothing had been written.
    package var layerBytes: ByteCount
    /// From the request to freeze until the container ran again; until the last capture when it stayed frozen or was killed.
    package var frozen: Duration
    /// How long freezing took; part of `frozen`.
    package var freezing: Duration
    /// How long runc and CRIU took; part of `frozen`.
    package var dumping: Duration
    /// What arrived meanwhile for a container with a network of its own, and was given to it when it ran again.
    package var held = HeldCount()
    package var takenAt: Timestamp
}

/// Something a container does that CRIU cannot keep.
package struct CheckpointObstacle: Sendable, Equatable, CustomStringConvertible {
    /// What stands in the way, for programs; `reason` is the same for people.
    package enum Kind: String, Sendable, Codable {
        case ioUring, establishedTCP, externalUnixSocket, gpuDevice, debugger, space
    }

    package var kind: Kind
    /// The process, as the node sees it; nil when it concerns the whole container.
    package var process: Int32?
    /// What stands in the way, in a sentence.
    package var reason: String
    /// What to do about it, in a sentence.
    package var remedy: String

    package var description: String { "\(reason) \(remedy)" }
}
