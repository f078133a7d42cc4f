package import ClusterModel
internal import FoundationEssentials
internal import LinuxSystem

/// The images of this node: each unpacked once, shared read-only by all containers that use it.
///
/// A folder per image under its key, made complete under another name and then renamed, so that a crash leaves nothing half done.
/// Two jobs that need the same image at once wait for the same unpacking.
package actor ImageCache {
    private let folder: String
    private let timeout: Duration
    private let umoci: String
    private let skopeo: String
    private var preparing: [String: Task<PreparedImage, any Error>] = [:]
    private var lastTemporary = 0

    /// Removes what an interrupted unpacking left.
    package init(_ configuration: ContainersConfiguration) throws {
        folder = configuration.imagesFolder
        timeout = configuration.imageTimeout
        (umoci, skopeo) = (configuration.umoci, configuration.skopeo)
        try explaining("making the folder for images") { () throws(SystemError) in
            try FileSystem.createFolder(configuration.imagesFolder, mode: 0o700)
            for name in try FileSystem.list(configuration.imagesFolder) where name.hasPrefix("unpacking-") {
                try FileSystem.removeAll("\(configuration.imagesFolder)/\(name)")
            }
        }
    }

    /// Makes an image ready to run, fetching and unpacking it if need be.
    ///
    /// - Parameters:
    ///   - source: where the image comes from.
    ///   - pinned: the only image that will do; nil takes what the source holds now. For restores: a tag that has moved meanwhile must
    ///     not give a checkpoint other files than those that it was dumped on.
    /// - Returns: the image, unpacked.
    /// - Throws: ``ContainerError`` with what is wrong with the image and what to do; `imageMissing` too when neither the node nor the
    ///   source has the pinned image any more.
    package func prepare(_ source: JobSpecification.ImageSource, pinned: ImageKey? = nil) async throws -> PreparedImage
    {
        if let pinned, let image = stored(pinned) { return image }
        let image = try await makeOnce(source)
        guard let pinned, image.key != pinned else { return image }
        throw ContainerError(
            .imageMissing,
            "The image \(pinned) is not on this node any more, and \(Self.place(of: source)) now holds another one, \(image.key).",
            remedy: "Put the image back where it came from, or start the job anew with the image that is there."
        )
    }

    private func makeOnce(_ source: JobSpecification.ImageSource) async throws -> PreparedImage {
        let identity = "\(source)"
        if let running = preparing[identity] { return try await running.value }
        let task = Task(name: "prepare image") { try await make(source) }
        preparing[identity] = task
        defer { preparing[identity] = nil }
        return try await task.value
    }

    /// An image that is unpacked already; nil otherwise.
    package func image(_ key: ImageKey) -> PreparedImage? { stored(key) }

    /// Removes images that nobody uses, the longest unused first, until all together take at most `limit`.
    ///
    /// - Parameters:
    ///   - limit: what may remain.
    ///   - keeping: images of containers and checkpoints that exist.
    ///   - sparing: those that were prepared less than this ago are kept, since who asked for them may not have noted it yet.
    /// - Returns: what was removed.
    /// - Throws: ``ContainerError`` when a folder cannot be removed.
    @discardableResult
    package func collectGarbage(
        limit: ByteCount,
        keeping: Set<ImageKey>,
        sparing: Duration = .zero
    ) throws -> [ImageKey] {
        let spared = WallClock.now() - sparing
        var images: [(key: ImageKey, size: ByteCount, used: Timestamp)] = []
        for name in (try? FileSystem.list(folder)) ?? [] {
            guard let image = read(ImageKey(rawValue: name)) else { continue }
            let used = FileSystem.status("\(folder)/\(name)/used")?.modified ?? .epoch
            images.append((image.key, image.size, used))
        }
        var total = images.reduce(ByteCount.zero) { $0 + $1.size }
        var removed: [ImageKey] = []
        for image in images.sorted(by: { $0.used < $1.used })
        where total > limit && image.used <= spared && !keeping.contains(image.key) {
            let trash = temporaryFolder()
            try explaining("removing image \(image.key)") { () throws(SystemError) in
                try FileSystem.move("\(folder)/\(image.key)", to: trash)
                try FileSystem.removeAll(trash)
            }
            total = total - image.size
            removed.append(image.key)
        }
        return removed
    }

    // MARK: Stored images

    private func stored(_ key: ImageKey) -> PreparedImage? {
        guard let image = read(key) else { return nil }
        try? FileSystem.writeAtomically("", to: "\(folder)/\(key)/used")
        return image
    }

    private func read(_ key: ImageKey) -> PreparedImage? {
        guard !key.rawValue.contains("/"), let bytes = try? FileSystem.read("\(folder)/\(key)/image.json") else {
            return nil
        }
        return try? JSONDecoder().decode(PreparedImage.self, from: Data(bytes))
    }

    private func temporaryFolder() -> String {
        lastTemporary += 1
        return "\(folder)/unpacking-\(ProcessControl.id)-\(lastTemporary)"
    }

    /// Lets `fill` make the content of a new image, then makes it appear under its key.
    private func store(
        _ key: ImageKey,
        _ fill: (_ rootFolder: String, _ scratch: String) async throws -> PreparedImage
    ) async throws -> PreparedImage {
        let temporary = temporaryFolder()
        do {
            try explaining("making a folder for the image") { () throws(SystemError) in
                try FileSystem.createFolder("\(temporary)/scratch", mode: 0o700)
            }
            var image = try await fill("\(temporary)/rootfs", "\(temporary)/scratch")
            image.rootFolder = "\(folder)/\(key)/rootfs"
            let root = "\(temporary)/rootfs"
            image.size = await onThread { FileSystem.allocatedBytes(of: root) }
            let document = try JSONEncoder().encode(image)
            // All of the image must be on disk before its name is: a power failure must not leave an image with empty files.
            _ = try await Tool("sync", package: "coreutils").run(["--file-system", temporary], timeout: timeout)
            try explaining("keeping the image") { () throws(SystemError) in
                try FileSystem.removeAll("\(temporary)/scratch")
                try FileSystem.writeAtomically(Array(document), to: "\(temporary)/image.json")
                try FileSystem.writeAtomically("", to: "\(temporary)/used")
                if FileSystem.exists("\(folder)/\(key)") { try FileSystem.removeAll("\(folder)/\(key)") }
                try FileSystem.move(temporary, to: "\(folder)/\(key)")
            }
            return image
        } catch {
            try? FileSystem.removeAll(temporary)
            throw error
        }
    }

    // MARK: Sources

    private func make(_ source: JobSpecification.ImageSource) async throws -> PreparedImage {
        switch source {
        case .rootFolder(let path):
            let status = try existing(path, "root file system folder")
            guard status.kind == .folder else { throw wrongKind(path, "a folder") }
            try requireRootFileSystem(path, name: path)
            return PreparedImage(key: ImageKey(rawValue: "folder-\(fingerprint(path))"), rootFolder: path)
        case .rootArchive(let path):
            let status = try existing(path, "root file system tar")
            guard status.kind == .file else { throw wrongKind(path, "a tar file") }
            let key = ImageKey(rawValue: "tar-\(fingerprint(identity(of: path, status)))")
            if let image = stored(key) { return image }
            return try await store(key) { root, _ in
                try await unpackTar(path, into: root)
                try requireRootFileSystem(root, name: path)
                return PreparedImage(key: key, rootFolder: root)
            }
        case .ociFolder(let path, let reference):
            let status = try existing(path, "OCI image layout")
            guard status.kind == .folder else { throw wrongKind(path, "a folder; for a tar use `ociArchive`") }
            return try await unpack(OCILayout(folder: path, name: path), reference: reference)
        case .ociArchive(let path, let reference):
            let status = try existing(path, "OCI image tar")
            guard status.kind == .file else { throw wrongKind(path, "a tar file; for a folder use `ociFolder`") }
            let note = "\(folder)/archive-\(fingerprint(identity(of: path, status) + "#" + (reference ?? "")))"
            if let known = try? FileSystem.readLine(note), let image = stored(ImageKey(rawValue: known)) {
                return image
            }
            let image = try await inTemporaryFolder { temporary in
                try await unpackTar(path, into: temporary)
                return try await unpack(OCILayout(folder: temporary, name: path), reference: reference)
            }
            try explaining("noting the image of \(path)") { () throws(SystemError) in
                try FileSystem.writeAtomically(image.key.rawValue, to: note)
            }
            return image
        case .registry(let reference):
            return try await inTemporaryFolder { temporary in
                try await fetch(reference, into: temporary)
                return try await unpack(OCILayout(folder: temporary, name: reference), reference: nil)
            }
        }
    }

    private func inTemporaryFolder(_ body: (String) async throws -> PreparedImage) async throws -> PreparedImage {
        let temporary = temporaryFolder()
        defer { try? FileSystem.removeAll(temporary) }
        return try await body(temporary)
    }

    private func fetch(_ reference: String, into layout: String) async throws {
        let result = try await Tool(skopeo, package: "skopeo").run(
            ["copy", "--quiet", "--override-os", "linux", reference, "oci:\(layout):image"],
            timeout: timeout
        )
        if result.isSuccess { return }
        let complaint = result.complaint
        if saysDiskIsFull(complaint) { throw diskFull("fetching \(reference)") }
        throw ContainerError(
            .imageMissing,
            "The image \(reference) could not be fetched: \(lastSentence(of: complaint))",
            remedy: "Check the reference with `skopeo inspect \(reference)` on this node; "
                + "for a private registry log in with `skopeo login`.",
            details: complaint
        )
    }

    private func unpack(_ layout: OCILayout, reference: String?) async throws -> PreparedImage {
        let found = try layout.image(reference)
        let key = ImageKey(rawValue: found.digest.split(separator: ":").joined(separator: "-"))
        if let image = stored(key) { return image }
        let umoci = try Tool(umoci, package: "umoci")
        return try await store(key) { root, scratch in
            // umoci finds images by tag only; a layout of one entry over the same blobs names exactly the manifest that is meant.
            var entry = OCIImage.Descriptor(digest: found.digest)
            entry.mediaType = "application/vnd.oci.image.manifest.v1+json"
            entry.annotations = [OCIImage.nameAnnotation: "image"]
            entry.size =
                FileSystem.status(
                    "\(layout.folder)/blobs/\(found.digest.split(separator: ":").joined(separator: "/"))",
                    followingLinks: true
                )?
                .size.rawValue
            let index = try JSONEncoder().encode(OCIImage.Index(manifests: [entry]))
            let target = try absolute("\(layout.folder)/blobs")
            try explaining("naming the image") { () throws(SystemError) in
                try FileSystem.writeAtomically(Array(index), to: "\(scratch)/index.json")
                try FileSystem.writeAtomically("{\"imageLayoutVersion\":\"1.0.0\"}", to: "\(scratch)/oci-layout")
                try FileSystem.link("\(scratch)/blobs", to: target)
            }
            let result = try await umoci.run(
                ["raw", "unpack", "--image", "\(scratch):image", root],
                forContainers: true,
                timeout: timeout
            )
            guard result.isSuccess else {
                if saysDiskIsFull(result.complaint) { throw diskFull("unpacking \(layout.name)") }
                throw ContainerError(
                    .imageInvalid,
                    "The image \(layout.name) could not be unpacked: \(lastSentence(of: result.complaint))",
                    remedy: "Copy the image again; its layers may be damaged.",
                    details: result.complaint
                )
            }
            return describe(found.configuration, key: key, root: root)
        }
    }

    private func describe(_ configuration: OCIImage.Configuration, key: ImageKey, root: String) -> PreparedImage {
        var image = PreparedImage(key: key, rootFolder: root)
        guard let execution = configuration.config else { return image }
        image.entryPoint = execution.entryPoint ?? []
        image.command = execution.command ?? []
        image.environment = execution.environment ?? []
        image.workingDirectory = execution.workingDirectory.flatMap { $0.isEmpty ? nil : $0 }
        image.user = execution.user.flatMap { $0.isEmpty ? nil : $0 }
        image.stopSignal = execution.stopSignal.flatMap(SignalName.number)
        return image
    }

    private func unpackTar(_ path: String, into root: String) async throws {
        try explaining("making a folder for \(path)") { () throws(SystemError) in
            try FileSystem.createReadableFolder(root)
        }
        let result = try await Tool("tar").run(
            [
                "--extract", "--file", path, "--directory", root, "--numeric-owner", "--same-permissions", "--xattrs",
                "--xattrs-include=*",
            ],
            forContainers: true,
            timeout: timeout
        )
        if result.isSuccess { return }
        if saysDiskIsFull(result.complaint) { throw diskFull("unpacking \(path)") }
        throw ContainerError(
            .imageInvalid,
            "\(path) could not be unpacked: \(lastSentence(of: result.complaint))",
            remedy: "Check it with `tar --list --file \(path)`.",
            details: result.complaint
        )
    }

    // MARK: Complaints

    private static func place(of source: JobSpecification.ImageSource) -> String {
        switch source {
        case .ociFolder(let path, let reference), .ociArchive(let path, let reference):
            path + (reference.map { ":\($0)" } ?? "")
        case .rootFolder(let path), .rootArchive(let path): path
        case .registry(let reference): reference
        }
    }

    private func existing(_ path: String, _ what: String) throws -> FileSystem.Status {
        guard path.hasPrefix("/") else {
            throw ContainerError(
                .imageMissing,
                "The image path \(path) is not absolute.",
                remedy: "Write the \(what)'s full path on the node."
            )
        }
        if let status = FileSystem.status(path, followingLinks: true) { return status }
        throw ContainerError(
            .imageMissing,
            "There is no \(what) at \(path) on this node.",
            remedy:
                "Check the path; it must exist on the node that runs the job, and the agent must be able to read it."
        )
    }

    private func wrongKind(_ path: String, _ wanted: String) -> ContainerError {
        ContainerError(
            .imageInvalid,
            "\(path) is not \(wanted).",
            remedy: "Correct the kind or the path of the job's image."
        )
    }

    private func requireRootFileSystem(_ root: String, name: String) throws {
        if let names = try? FileSystem.list(root), !names.isEmpty { return }
        throw ContainerError(
            .imageInvalid,
            "\(name) is empty or cannot be read.",
            remedy: "A root file system holds at least the program to run."
        )
    }

    private func diskFull(_ activity: String) -> ContainerError {
        ContainerError(
            .diskFull,
            "The disk that holds \(folder) became full while \(activity).",
            remedy:
                "Free some space there, lower the limit for images so that old ones are removed, or move the state folder."
        )
    }

    private func identity(of path: String, _ status: FileSystem.Status) -> String {
        "\(path)#\(status.size.rawValue)#\(status.modified.rawValue)#\(status.device)#\(status.inode)"
    }

    private func absolute(_ path: String) throws(ContainerError) -> String {
        path.hasPrefix("/") ? path : "\(folder)/\(path)"
    }
}

/// A 128-bit hexadecimal fingerprint (two FNV-1a hashes with different offsets): names files, protects nothing.
func fingerprint(_ text: String) -> String {
    func hash(_ offset: UInt64) -> UInt64 {
        text.utf8.reduce(offset) { ($0 ^ UInt64($1)) &* 0x0000_0100_0000_01b3 }
    }
    func hexadecimal(_ value: UInt64) -> String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
    return hexadecimal(hash(0xcbf2_9ce4_8422_2325)) + hexadecimal(hash(0x9ae1_6a3b_2f90_404f))
}

/// The last line of a program's complaint without its decoration, which in Go's programs is what went wrong.
func lastSentence(of complaint: String) -> String {
    let lines = complaint.split(separator: "\n").map { String($0) }
    var line = lines.last(where: { !$0.allSatisfy(\.isWhitespace) }) ?? "it gave no reason."
    if let range = line.range(of: "msg=\"") {
        line = String(line[range.upperBound...])
        if let end = line.lastIndex(of: "\"") { line = String(line[..<end]) }
    }
    return line.count > 500 ? "\(line.prefix(500))..." : line
}
