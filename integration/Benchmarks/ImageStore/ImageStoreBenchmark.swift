import CLZ4
import Checkpointing
import ClusterModel
import Glibc
import ImageStore
import LinuxSystem

/// The stages of storing a checkpoint beside the lz4 library alone, on the same pages, on one core, and the whole store and extraction on all cores.
///
/// "Mixed pages" are what goals and design speak of: of each region a quarter zero pages, half memory-like pages (pointers with common high halves,
/// small integers, text), a quarter noise. "Matrix" is a LINPACK matrix of random doubles, which no byte compressor makes much smaller; "heap" is what
/// this process itself has in memory after building tables of strings.
struct ImageStoreBenchmark: Benchmark {
    static let name = "image-store"
    static let summary = "compression, checksums and size of stored checkpoints; peer: the lz4 library alone"

    /// Takes about ten seconds and 256 MiB in memory; Godwit and peer in turn.
    func run(_ context: BenchmarkContext) async throws -> [BenchmarkRow] {
        var rows: [BenchmarkRow] = []
        let mixed = Pages.mixed(bytes: 64 << 20)
        for (name, pages) in [
            ("mixed pages", mixed), ("matrix", Pages.matrix(bytes: 64 << 20)), ("heap", Pages.heap(bytes: 32 << 20)),
        ] {
            rows += try Self.stage(name, pages, runs: context.rounds)
        }
        rows += try Self.hashes(mixed, runs: context.rounds)
        rows += try await Self.wholeStore(mixed, context)
        return rows
    }

    // MARK: One core

    private static func stage(_ name: String, _ pages: [UInt8], runs: Int) throws -> [BenchmarkRow] {
        let codec = try RegionCodec()
        var output = [UInt8](repeating: 0, count: 2 * ImageIndex.regionBytes)
        var (own, peer): ([Double], [Double]) = ([], [])
        var (ownBytes, peerBytes) = (0, 0)
        var encoded: [(offset: Int, region: ImageRegion, bytes: [UInt8])] = []
        for run in 0..<runs {
            peerBytes = 0
            peer.append(
                seconds {
                    unsafe eachRegion(of: pages) { raw, _ in
                        peerBytes += unsafe output.withUnsafeMutableBytes { unsafe compressWithLibrary(raw, into: $0) }
                    }
                }
            )
            ownBytes = 0
            own.append(
                seconds {
                    unsafe eachRegion(of: pages) { raw, _ in
                        ownBytes += unsafe output.withUnsafeMutableBytes {
                            unsafe codec.encode(raw, into: $0).storedLength
                        }
                    }
                }
            )
            guard run == 0 else { continue }
            unsafe eachRegion(of: pages) { raw, offset in
                let made = unsafe output.withUnsafeMutableBytes { unsafe codec.encode(raw, into: $0) }
                guard made.encoding != .zero else { return }
                let region = ImageRegion(
                    rawOffset: UInt64(offset),
                    rawLength: UInt64(raw.count),
                    storedLength: UInt32(made.storedLength),
                    encoding: made.encoding,
                    pages: made.pages,
                    checksum: made.checksum
                )
                encoded.append((offset, region, Array(output.prefix(made.storedLength))))
            }
        }
        let decoding = (0..<runs).map { _ in
            seconds {
                for (_, region, bytes) in encoded {
                    let isGood = unsafe bytes.withUnsafeBytes { unsafe codec.decode($0, of: region) != nil }
                    precondition(isGood, "a region of \(name) did not come back")
                }
            }
        }
        let count = Double(pages.count)
        return [
            BenchmarkRow(
                "LZ4 stage, \(name): zero pages, compression and checksum, one core",
                unit: "GB/s",
                ours: count / own.median / 1e9,
                peer: count / peer.median / 1e9,
                goal: .ratioAtLeast(0.8)
            ),
            BenchmarkRow(
                "stored size, \(name)",
                unit: "x raw",
                ours: Double(ownBytes) / count,
                peer: Double(peerBytes) / count,
                goal: name == "mixed pages" ? .atMost(0.45) : nil
            ),
            BenchmarkRow(
                "reading back, \(name): checksum and decompression, one core",
                unit: "GB/s",
                ours: count / decoding.median / 1e9
            ),
        ]
    }

    private static func hashes(_ pages: [UInt8], runs: Int) throws -> [BenchmarkRow] {
        var sum: UInt64 = 0
        let plain = (0..<runs).map { _ in
            seconds { unsafe eachRegion(of: pages) { raw, _ in sum ^= unsafe XXHash64.hash(raw) } }
        }
        precondition(sum != 1, "keeps the work from being optimized away")
        var output = [UInt8](repeating: 0, count: ImageIndex.regionBytes)
        func encoding(hashes: Bool) throws -> Double {
            let codec = try RegionCodec(contentHashes: hashes)
            return (0..<runs).map { _ in
                seconds {
                    unsafe eachRegion(of: pages) { raw, _ in
                        _ = unsafe output.withUnsafeMutableBytes { unsafe codec.encode(raw, into: $0) }
                    }
                }
            }.median
        }
        let count = Double(pages.count)
        return [
            BenchmarkRow(
                "xxHash64, one core",
                unit: "GB/s",
                ours: count / plain.median / 1e9
            ),
            BenchmarkRow(
                "LZ4 stage, mixed pages, with SHA-256 of each region (peer: without)",
                unit: "GB/s",
                ours: count / (try encoding(hashes: true)) / 1e9,
                peer: count / (try encoding(hashes: false)) / 1e9
            ),
        ]
    }

    // MARK: All cores

    private static func wholeStore(_ pages: [UInt8], _ context: BenchmarkContext) async throws -> [BenchmarkRow] {
        let folder = context.memoryFolder
        let job = JobID(rawValue: "benchmark")
        try FileSystem.createFolder(folder + "/images", mode: 0o700)
        let copies = 3
        for copy in 0..<copies { try write(pages, to: "\(folder)/images/pages-\(copy).img") }
        let store = try ImageStore(folder: folder + "/store", configuration: ImageStoreConfiguration(reserve: .zero))
        var (storing, extracting): ([Double], [Double]) = ([], [])
        for run in 1...UInt32(context.rounds) {
            let generation = CheckpointGeneration(rawValue: run)
            let source = ImageSource(
                job: job,
                incarnation: Incarnation(rawValue: 1),
                generation: generation,
                taken: .epoch,
                ledger: .zero,
                frozen: .zero,
                elapsed: .zero,
                imagesFolder: folder + "/images",
                layerArchive: nil
            )
            let clock = ContinuousClock()
            storing.append(try await clock.measure { _ = try await store.store(source) }.inSeconds)
            extracting.append(
                try await clock.measure {
                    try await store.extract(job, generation, to: "\(folder)/out-\(run)", layerArchive: nil)
                }.inSeconds
            )
            removeFolder("\(folder)/out-\(run)")
            try await store.remove(job, generation)
        }
        let count = Double(copies * pages.count)
        return [
            BenchmarkRow(
                "store from memory to memory, mixed pages, \(store.configuration.workerThreads) cores",
                unit: "GB/s",
                ours: count / storing.median / 1e9
            ),
            BenchmarkRow(
                "extract from memory to memory, mixed pages, \(store.configuration.workerThreads) cores",
                unit: "GB/s",
                ours: count / extracting.median / 1e9
            ),
        ]
    }

    // MARK: Tools

    private static func eachRegion(of pages: [UInt8], _ body: (UnsafeRawBufferPointer, Int) -> Void) {
        unsafe pages.withUnsafeBytes { pages in
            for offset in stride(from: 0, to: pages.count, by: ImageIndex.regionBytes) {
                let end = min(pages.count, offset + ImageIndex.regionBytes)
                unsafe body(UnsafeRawBufferPointer(rebasing: pages[offset..<end]), offset)
            }
        }
    }

    /// What the library does with a region by itself, with all the room that it may want.
    private static func compressWithLibrary(
        _ raw: UnsafeRawBufferPointer,
        into out: UnsafeMutableRawBufferPointer
    ) -> Int {
        unsafe Int(
            LZ4_compress_fast(
                raw.baseAddress?.assumingMemoryBound(to: CChar.self),
                out.baseAddress?.assumingMemoryBound(to: CChar.self),
                Int32(raw.count),
                Int32(out.count),
                1
            )
        )
    }

    private static func seconds(_ body: () -> Void) -> Double { ContinuousClock().measure(body).inSeconds }

    private static func write(_ bytes: [UInt8], to path: String) throws {
        guard let file = unsafe fopen(path, "w") else {
            throw BenchmarkFailure("cannot write \(path), errno \(errno)")
        }
        let count = unsafe fwrite(bytes, 1, bytes.count, file)
        guard unsafe fclose(file) == 0, count == bytes.count else {
            throw BenchmarkFailure("cannot write \(path), errno \(errno)")
        }
    }

    private static func removeFolder(_ path: String) { try? FileSystem.removeAll(path) }
}

/// Pages to compress, from fixed seeds.
private enum Pages {
    static let pageBytes = ImageIndex.pageBytes

    static func mixed(bytes: Int) -> [UInt8] {
        var generator = SeededGenerator(seed: 42)
        var all: [UInt8] = []
        all.reserveCapacity(bytes)
        while all.count < bytes {
            switch generator.next() % 8 {
            case 0, 1: all.append(contentsOf: repeatElement(0, count: pageBytes))
            case 2, 3: all += words { _ in generator.next() }
            case 4, 5: all += pointers(&generator)
            case 6: all += words { _ in generator.next() % 1000 }
            default: all += prose(&generator)
            }
        }
        return all
    }

    /// Objects of a few words: addresses from one arena, counts, flags, and empty fields.
    private static func pointers(_ generator: inout SeededGenerator) -> [UInt8] {
        let arena: UInt64 = 0x7F3A_5C00_0000 + (generator.next() % 64) << 20
        return words { index in
            switch index % 4 {
            case 0: arena + (generator.next() % 4096) << 4
            case 1: generator.next() % 64
            case 2: 0x0000_0003_0000_0001
            default: 0
            }
        }
    }

    private static func prose(_ generator: inout SeededGenerator) -> [UInt8] {
        let vocabulary = [
            "the ", "container ", "meets ", "its ", "deadline ", "of ", "CPU ", "time ", "godwit ", "flies ", "over ",
            "sea ",
            "sample: ", "0.25 ", "node-17 ", "error\n",
        ]
        var text: [UInt8] = []
        while text.count < pageBytes { text += Array(vocabulary[Int(generator.next() % 16)].utf8) }
        return Array(text.prefix(pageBytes))
    }

    /// Uniform doubles in -0.5..<0.5, as HPL fills its matrix.
    static func matrix(bytes: Int) -> [UInt8] {
        var generator = SeededGenerator(seed: 43)
        var all: [UInt8] = []
        all.reserveCapacity(bytes)
        while all.count < bytes { all += words { _ in (generator.unit() - 0.5).bitPattern } }
        return all
    }

    /// The process's own anonymous memory after building tables; the same tables in each run, at other addresses.
    static func heap(bytes: Int) -> [UInt8] {
        var table: [String: [Int]] = [:]
        var generator = SeededGenerator(seed: 44)
        for number in 0..<150_000 {
            table["job-\(generator.next() % 100_000)-iteration-\(number)"] = [number, Int(generator.next() % 1000)]
        }
        // The allocator gives each thread an arena of its own: the one is meant in which the keys are.
        let key = table.keys.first { $0.utf8.count > 15 } ?? ""
        let place = unsafe key.utf8.withContiguousStorageIfAvailable { UInt(bitPattern: $0.baseAddress) }
        return withExtendedLifetime(table) { ownMemory(around: place ?? 0, limit: bytes) }
    }

    private static func ownMemory(around place: UInt, limit: Int) -> [UInt8] {
        guard let maps = unsafe fopen("/proc/self/maps", "r") else { return [] }
        defer { unsafe fclose(maps) }
        var heap: (begin: UInt, end: UInt)?
        var line = [CChar](repeating: 0, count: 1024)
        while unsafe fgets(&line, 1024, maps) != nil {
            let text = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            let range = text.prefix { $0 != " " }.split(separator: "-")
            if range.count == 2, let begin = UInt(range[0], radix: 16), let end = UInt(range[1], radix: 16),
                (begin..<end).contains(place)
            {
                heap = (begin, end)
            }
        }
        guard let heap, let begin = unsafe UnsafeRawPointer(bitPattern: heap.begin) else { return [] }
        let count = min(limit, Int(heap.end - heap.begin))
        return unsafe Array(UnsafeRawBufferPointer(start: begin, count: count))
    }

    private static func words(_ body: (Int) -> UInt64) -> [UInt8] {
        unsafe [UInt8](unsafeUninitializedCapacity: pageBytes) { buffer, count in
            for index in 0..<pageBytes / 8 {
                unsafe UnsafeMutableRawBufferPointer(buffer).storeBytes(
                    of: body(index),
                    toByteOffset: index * 8,
                    as: UInt64.self
                )
            }
            count = pageBytes
        }
    }
}
