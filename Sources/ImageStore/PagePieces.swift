internal import Checkpointing

/// Pages on their way from node to node: compressed region by region and checked, as the files of a dump are.
package enum PagePieces {
    /// Reads pages on a thread that may be held up, and compresses them; regions of zeros give no piece.
    ///
    /// What `read` throws is thrown.
    package static func encode(_ read: @escaping @Sendable () throws -> [UInt8]) async throws -> [DumpPiece] {
        try await WorkerThreads.run { _ in
            let bytes = try read()
            let codec = try RegionCodec()
            var output = [UInt8](repeating: 0, count: ImageIndex.regionBytes)
            return unsafe output.withUnsafeMutableBytes { output in
                unsafe bytes.withUnsafeBytes { bytes in
                    stride(from: 0, to: bytes.count, by: ImageIndex.regionBytes).compactMap { at in
                        let end = min(at + ImageIndex.regionBytes, bytes.count)
                        let raw = unsafe UnsafeRawBufferPointer(rebasing: bytes[at..<end])
                        let encoded = unsafe codec.encode(raw, into: output)
                        guard encoded.encoding != .zero else { return nil }
                        return DumpPiece(
                            file: 0,
                            region: ImageRegion(
                                rawOffset: UInt64(at),
                                rawLength: UInt64(raw.count),
                                storedLength: UInt32(encoded.storedLength),
                                encoding: encoded.encoding,
                                pages: encoded.pages,
                                checksum: encoded.checksum
                            ),
                            stored: unsafe Array(output[..<encoded.storedLength])
                        )
                    }
                }
            }
        }
    }

    /// The pages again, `byteCount` bytes in all; throws an `ImageStoreError` when the pieces are not what was sent.
    package static func decode(_ pieces: [DumpPiece], byteCount: Int) async throws -> [UInt8] {
        try await WorkerThreads.run { _ in
            let codec = try RegionCodec()
            var bytes = [UInt8](repeating: 0, count: byteCount)
            for piece in pieces {
                let region = piece.region
                guard region.rawLength <= UInt64(ImageIndex.regionBytes), region.rawOffset <= UInt64(byteCount),
                    region.rawLength <= UInt64(byteCount) - region.rawOffset,
                    region.hasOnlyPagesOfItsOwn
                else { throw ImageStoreError(.damaged, "The source sent pages that nobody asked for.") }
                try unsafe piece.stored.withUnsafeBytes { stored in
                    guard let present = unsafe codec.decode(stored, of: region) else {
                        throw ImageStoreError(
                            .damaged,
                            "Pages of a job's memory are not what the source read: their checksum differs."
                        )
                    }
                    unsafe bytes.withUnsafeMutableBytes { buffer in
                        let place = Int(region.rawOffset)..<Int(region.rawOffset + region.rawLength)
                        unsafe region.spread(present, over: UnsafeMutableRawBufferPointer(rebasing: buffer[place]))
                    }
                }
            }
            return bytes
        }
    }
}

extension ImageRegion {
    /// Whether no page is named that a region of its length does not have.
    var hasOnlyPagesOfItsOwn: Bool {
        let count = (rawLength + UInt64(ImageIndex.pageBytes) - 1) / UInt64(ImageIndex.pageBytes)
        return count >= 64 || pages >> count == 0
    }
}
