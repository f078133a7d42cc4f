/// What of a machine a process may have made itself dependent on, so that its memory is of no use on one that lacks it.
///
/// A program looks once what the processor can do and keeps code and buffers for that; CRIU writes what its own version knows.
package struct NodePlatform: Sendable, Codable, Equatable {
    /// The first two numbers of a kernel's or a program's version.
    package struct Version: Sendable, Codable, Comparable, CustomStringConvertible {
        /// The first number.
        package var major: Int
        /// The second number.
        package var minor: Int

        /// Puts a version together.
        package init(_ major: Int, _ minor: Int) { (self.major, self.minor) = (major, minor) }

        package static func < (left: Self, right: Self) -> Bool {
            (left.major, left.minor) < (right.major, right.minor)
        }

        package var description: String { "\(major).\(minor)" }
    }

    /// As image indexes call it: `amd64`, `arm64`.
    package var architecture: String
    /// What programs may execute there.
    package var features: ProcessorFeatures
    /// Bytes of the processor's state that the kernel saves with a signal frame; 0 when that is not known.
    package var stateSize: Int
    /// nil when it is not known.
    package var kernel: Version?
    /// The CRIU that works there; nil when there is none.
    package var criu: Version?

    /// Takes the values as they are.
    package init(
        architecture: String,
        features: ProcessorFeatures,
        stateSize: Int = 0,
        kernel: Version? = nil,
        criu: Version? = nil
    ) {
        self.architecture = architecture
        self.features = features
        self.stateSize = stateSize
        self.kernel = kernel
        self.criu = criu
    }
}

/// Instruction set extensions that programs use where they find them, by number: the place of the name in a list that only grows.
///
/// What only the kernel uses, and what is a mere hint on processors that do not know it, is left out: it never keeps a process from going on.
package struct ProcessorFeatures: Sendable, Equatable {
    /// 64 features each, the first in the lowest bit; the last is not 0.
    private(set) var words: [UInt64]

    /// None.
    package init() { words = [] }

    /// Those of an architecture that have a number; other names are passed over.
    package init(_ names: some Sequence<String>, architecture: String) {
        self.init()
        let all = Self.names(of: architecture)
        for name in names { if let number = all.firstIndex(of: name) { insert(number) } }
    }

    private mutating func insert(_ number: Int) {
        while words.count <= number / 64 { words.append(0) }
        words[number / 64] |= 1 << UInt64(number % 64)
    }

    /// Whether there are none, as on a machine that does not tell.
    package var isEmpty: Bool { words.isEmpty }
    /// How many there are.
    package var count: Int { words.reduce(0) { $0 + $1.nonzeroBitCount } }

    /// What of these another one lacks.
    package func subtracting(_ other: ProcessorFeatures) -> ProcessorFeatures {
        var left = self
        for index in left.words.indices where index < other.words.count { left.words[index] &= ~other.words[index] }
        while left.words.last == 0 { left.words.removeLast() }
        return left
    }

    /// The names, in the order of their numbers; one that only a newer program knows is told by its number.
    package func names(architecture: String) -> [String] {
        let all = Self.names(of: architecture)
        return (0..<words.count * 64).filter { words[$0 / 64] >> UInt64($0 % 64) & 1 == 1 }.map {
            $0 < all.count ? all[$0] : "feature \($0)"
        }
    }

    /// The numbered names, as /proc/cpuinfo has them: new ones are added at the end, and none is ever moved.
    package static func names(of architecture: String) -> [String] {
        switch architecture {
        case "amd64": amd64
        case "arm64": arm64
        default: []
        }
    }

    private static let amd64 = [
        "fpu", "tsc", "cx8", "cmov", "clflush", "mmx", "fxsr", "sse", "sse2", "pni", "pclmulqdq", "ssse3", "fma",
        "cx16", "sse4_1", "sse4_2", "movbe", "popcnt", "aes", "xsave", "avx", "f16c", "rdrand", "syscall", "mmxext",
        "rdtscp", "lm", "3dnowext", "3dnow", "lahf_lm", "abm", "sse4a", "misalignsse", "xop", "fma4", "tbm",
        "fsgsbase", "bmi1", "avx2", "bmi2", "rtm", "avx512f", "avx512dq", "rdseed", "adx", "avx512ifma",
        "clflushopt", "clwb", "avx512pf", "avx512er", "avx512cd", "sha_ni", "avx512bw", "avx512vl", "avx512vbmi",
        "ospke", "waitpkg", "avx512_vbmi2", "gfni", "vaes", "vpclmulqdq", "avx512_vnni", "avx512_bitalg",
        "avx512_vpopcntdq", "rdpid", "movdiri", "movdir64b", "avx512_4vnniw", "avx512_4fmaps",
        "avx512_vp2intersect", "serialize", "tsxldtrk", "amx_bf16", "avx512_fp16", "amx_tile", "amx_int8", "sha512",
        "sm3", "sm4", "avx_vnni", "avx512_bf16", "cmpccxadd", "amx_fp16", "avx_ifma", "avx_vnni_int8",
        "avx_ne_convert", "amx_complex", "avx_vnni_int16", "avx10", "apx_f", "xsaveopt", "xsavec", "xgetbv1",
        "clzero", "rdpru",
    ]

    private static let arm64 = [
        "fp", "asimd", "aes", "pmull", "sha1", "sha2", "crc32", "atomics", "fphp", "asimdhp", "asimdrdm", "jscvt",
        "fcma", "lrcpc", "dcpop", "sha3", "sm3", "sm4", "asimddp", "sha512", "sve", "asimdfhm", "dit", "uscat",
        "ilrcpc", "flagm", "sb", "paca", "pacg", "dcpodp", "sve2", "sveaes", "svepmull", "svebitperm", "svesha3",
        "svesm4", "flagm2", "frint", "svei8mm", "svef32mm", "svef64mm", "svebf16", "i8mm", "bf16", "rng", "bti",
        "mte", "rpres", "mte3", "sme", "wfxt", "ebf16", "sve2p1", "sme2", "cssc", "rprfm", "mops", "hbc", "lrcpc3",
        "lse128",
    ]
}

extension ProcessorFeatures: Codable {
    /// One text of hexadecimal digits: a checkpoint's record has it, and there are many.
    package init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        var rest = Substring(try container.decode(String.self))
        words = []
        while !rest.isEmpty {
            guard words.count < Self.wordLimit, let word = UInt64(rest.suffix(16), radix: 16) else {
                throw DecodingError.dataCorruptedError(in: container, debugDescription: "no set of processor features")
            }
            words.append(word)
            rest = rest.dropLast(16)
        }
        while words.last == 0 { words.removeLast() }
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        var text = ""
        for (index, word) in words.enumerated().reversed() {
            let digits = String(word, radix: 16)
            text += index == words.count - 1 ? digits : String(repeating: "0", count: 16 - digits.count) + digits
        }
        try container.encode(text)
    }

    /// 1,024 features: more than any machine has.
    private static let wordLimit = 16
}
