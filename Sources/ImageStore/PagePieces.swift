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
                        return unsafe DumpPiece(file: 0, encoded, at: UInt64(at), rawLength: raw.count, in: output)
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
                guard region.isPossible(inFileOf: UInt64(byteCount)) else {
                    throw ImageStoreError(.damaged, "The source sent pages that nobody asked for.")
                }
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
    /// Whether a file of that length can have it: no longer than a region may be, within the file, and naming no page that it has not.
    func isPossible(inFileOf length: UInt64) -> Bool {
        guard rawLength <= UInt64(ImageIndex.regionBytes), rawOffset <= length, rawLength <= length - rawOffset else {
            return false
        }
        let count = (rawLength + UInt64(ImageIndex.pageBytes) - 1) / UInt64(ImageIndex.pageBytes)
        return count >= 64 || pages >> count == 0
    }
}
