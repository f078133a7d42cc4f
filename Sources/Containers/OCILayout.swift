internal import FoundationEssentials
internal import LinuxSystem

/// An OCI image layout folder, and which of its images is meant.
struct OCILayout {
    /// An image of a layout with everything that is needed to unpack and to run it.
    struct Image {
        /// `sha256:HEX` of the manifest.
        var digest: String
        var manifest: OCIImage.Manifest
        var configuration: OCIImage.Configuration
    }

    let folder: String
    /// What users call the image: the folder or the tar it came from.
    let name: String

    /// Checks that the folder is a layout.
    init(folder: String, name: String) throws {
        (self.folder, self.name) = (folder, name)
        guard FileSystem.exists("\(folder)/index.json"), FileSystem.exists("\(folder)/oci-layout") else {
            if FileSystem.exists("\(folder)/manifest.json") {
                throw ContainerError(
                    .imageInvalid,
                    "\(name) is an image as `docker save` writes it, not an OCI image layout.",
                    remedy: "Convert it: skopeo copy docker-archive:FILE oci:FOLDER:TAG"
                )
            }
            throw ContainerError(
                .imageInvalid,
                "\(name) is not an OCI image layout: it has no index.json and oci-layout.",
                remedy: "Name a folder or tar made by `skopeo copy ... oci:`, umoci or buildah, "
                    + "or use `rootFolder` or `rootArchive` if it is a plain root file system."
            )
        }
    }

    /// Finds the image that `reference` names: a tag, or a manifest's digest; nil takes the only one, or the one tagged `latest`.
    func image(_ reference: String?) throws -> Image {
        let index = try decode(OCIImage.Index.self, at: "\(folder)/index.json", "index.json")
        let descriptor = try choose(reference, from: index.manifests)
        return try resolve(descriptor, depth: 0)
    }

    private func choose(_ reference: String?, from manifests: [OCIImage.Descriptor]) throws -> OCIImage.Descriptor {
        func tag(_ descriptor: OCIImage.Descriptor) -> String? { descriptor.annotations?[OCIImage.nameAnnotation] }
        let tags = manifests.compactMap(tag).sorted()
        if let reference {
            if let found = manifests.first(where: { tag($0) == reference || $0.digest == reference }) { return found }
            throw ContainerError(
                .imageMissing,
                "\(name) holds no image \"\(reference)\".",
                remedy: tags.isEmpty
                    ? "Its images have no tags: leave the reference out." : "It holds: \(tags.joined(separator: ", "))."
            )
        }
        if manifests.count == 1, let only = manifests.first { return only }
        if let latest = manifests.first(where: { tag($0) == "latest" }) { return latest }
        // Without tags, several manifests are one image for several platforms.
        if tags.isEmpty, let mine = manifests.first(where: isForThisNode) { return mine }
        throw ContainerError(
            .imageMissing,
            manifests.isEmpty
                ? "\(name) holds no image." : "\(name) holds \(manifests.count) images and none is tagged \"latest\".",
            remedy: manifests.isEmpty
                ? "Build or copy an image into it." : "Say which one as `reference`: \(tags.joined(separator: ", "))."
        )
    }

    private func isForThisNode(_ descriptor: OCIImage.Descriptor) -> Bool {
        descriptor.platform?.architecture == Machine.architecture && (descriptor.platform?.os ?? "linux") == "linux"
    }

    private func resolve(_ descriptor: OCIImage.Descriptor, depth: Int) throws -> Image {
        let path = try blob(descriptor.digest)
        if let index = try? decode(OCIImage.Index.self, at: path, descriptor.digest), depth < 3 {
            guard let mine = index.manifests.first(where: isForThisNode) else {
                let offered = index.manifests.compactMap { $0.platform?.architecture }.sorted().joined(separator: ", ")
                throw ContainerError(
                    .imageInvalid,
                    "\(name) has no image for this node's processor (\(Machine.architecture)); it has: \(offered).",
                    remedy: "Build or copy the image for linux/\(Machine.architecture)."
                )
            }
            return try resolve(mine, depth: depth + 1)
        }
        let manifest = try decode(OCIImage.Manifest.self, at: path, descriptor.digest)
        let configuration = try decode(
            OCIImage.Configuration.self,
            at: try blob(manifest.config.digest),
            manifest.config.digest
        )
        if let architecture = configuration.architecture, architecture != Machine.architecture {
            throw ContainerError(
                .imageInvalid,
                "\(name) is built for \(architecture); this node is \(Machine.architecture).",
                remedy: "Build or copy the image for linux/\(Machine.architecture)."
            )
        }
        return Image(digest: descriptor.digest, manifest: manifest, configuration: configuration)
    }

    /// The file of a digest; refuses one that would lead out of the layout.
    private func blob(_ digest: String) throws -> String {
        let parts = digest.split(separator: ":", omittingEmptySubsequences: false)
        let isSound =
            parts.count == 2
            && parts.allSatisfy { !$0.isEmpty && $0.utf8.allSatisfy { Character(UnicodeScalar($0)).isHexOrLetter } }
        guard isSound else { throw damaged("digest \"\(digest)\"") }
        return "\(folder)/blobs/\(parts[0])/\(parts[1])"
    }

    private func decode<Document: Decodable>(_ type: Document.Type, at path: String, _ what: String) throws -> Document
    {
        let bytes: [UInt8]
        do throws(SystemError) { bytes = try FileSystem.read(path, limit: 8 << 20) } catch {
            throw damaged("\(what): \(error)")
        }
        do { return try JSONDecoder().decode(type, from: Data(bytes)) } catch { throw damaged(what) }
    }

    private func damaged(_ what: String) -> ContainerError {
        ContainerError(
            .imageInvalid,
            "\(name) is damaged or incomplete at \(what).",
            remedy: "Copy the image again and check it with `skopeo inspect oci:\(folder)`."
        )
    }
}

extension Character {
    fileprivate var isHexOrLetter: Bool { isASCII && (isLetter || isNumber) }
}
