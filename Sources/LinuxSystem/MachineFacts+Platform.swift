internal import CLinux
package import ClusterModel

extension MachineFacts {
    /// What processes that run here may depend on.
    package var platform: NodePlatform {
        NodePlatform(
            architecture: Machine.architecture,
            features: Machine.processorFeatures(flags: processorFlags),
            stateSize: Machine.processorStateSize,
            kernel: kernel.major > 0 ? NodePlatform.Version(kernel.major, kernel.minor) : nil,
            criu: criu.flatMap { $0.works ? $0.tool.version : nil }.map { NodePlatform.Version($0.major, $0.minor) }
        )
    }
}

extension Machine {
    /// What programs find when they ask the processor: on amd64 that is CPUID, since an older kernel names less of a newer processor in its flags.
    static func processorFeatures(flags: [String]) -> ProcessorFeatures {
        guard architecture == "amd64" else { return ProcessorFeatures(flags, architecture: architecture) }
        return ProcessorFeatures(
            CPUIDBit.all.filter { $0.value.isSet }.keys.sorted(),
            architecture: architecture
        )
    }

    /// Bytes of XSAVE's area for the components that the kernel has enabled; 0 where that cannot be asked.
    static var processorStateSize: Int { CPUIDBit.registers(0xD, 0).map { Int($0.1) } ?? 0 }
}

/// Where CPUID tells one feature (Intel SDM, volume 2A, CPUID; AMD APM, volume 3, appendix E).
struct CPUIDBit: Sendable {
    enum Register: Sendable { case eax, ebx, ecx, edx }

    let leaf: UInt32
    let subleaf: UInt32
    let register: Register
    let bit: UInt32

    /// Whether the processor says so.
    var isSet: Bool {
        guard let registers = Self.registers(leaf, subleaf) else { return false }
        let word =
            switch register {
            case .eax: registers.0
            case .ebx: registers.1
            case .ecx: registers.2
            case .edx: registers.3
            }
        return word >> bit & 1 == 1
    }

    /// nil where the processor does not know the leaf.
    static func registers(_ leaf: UInt32, _ subleaf: UInt32) -> (UInt32, UInt32, UInt32, UInt32)? {
        // A processor answers a subleaf that it does not know with what it likes: leaf 7 says in EAX how many there are.
        if leaf == 7, subleaf > 0 { guard let first = registers(7, 0), first.0 >= subleaf else { return nil } }
        let words: [UInt32]? = unsafe withUnsafeTemporaryAllocation(of: UInt32.self, capacity: 4) { words in
            unsafe words.initialize(repeating: 0)
            guard let start = words.baseAddress, unsafe godwit_cpuid(leaf, subleaf, start) != 0 else { return nil }
            return unsafe Array(words)
        }
        return words.map { ($0[0], $0[1], $0[2], $0[3]) }
    }

    /// By the names of `ProcessorFeatures`.
    static let all: [String: CPUIDBit] = {
        var all: [String: CPUIDBit] = [:]
        func add(_ leaf: UInt32, _ subleaf: UInt32, _ register: Register, _ bits: KeyValuePairs<String, UInt32>) {
            for (name, bit) in bits {
                all[name] = CPUIDBit(leaf: leaf, subleaf: subleaf, register: register, bit: bit)
            }
        }
        add(
            1,
            0,
            .edx,
            [
                "fpu": 0, "tsc": 4, "cx8": 8, "cmov": 15, "clflush": 19, "mmx": 23, "fxsr": 24, "sse": 25, "sse2": 26,
            ]
        )
        add(
            1,
            0,
            .ecx,
            [
                "pni": 0, "pclmulqdq": 1, "ssse3": 9, "fma": 12, "cx16": 13, "sse4_1": 19, "sse4_2": 20, "movbe": 22,
                "popcnt": 23, "aes": 25, "xsave": 26, "avx": 28, "f16c": 29, "rdrand": 30,
            ]
        )
        add(0x8000_0001, 0, .edx, ["syscall": 11, "mmxext": 22, "rdtscp": 27, "lm": 29, "3dnowext": 30, "3dnow": 31])
        add(
            0x8000_0001,
            0,
            .ecx,
            ["lahf_lm": 0, "abm": 5, "sse4a": 6, "misalignsse": 7, "xop": 11, "fma4": 16, "tbm": 21]
        )
        add(0x8000_0008, 0, .ebx, ["clzero": 0, "rdpru": 4])
        add(
            7,
            0,
            .ebx,
            [
                "fsgsbase": 0, "bmi1": 3, "avx2": 5, "bmi2": 8, "rtm": 11, "avx512f": 16, "avx512dq": 17,
                "rdseed": 18, "adx": 19, "avx512ifma": 21, "clflushopt": 23, "clwb": 24, "avx512pf": 26,
                "avx512er": 27, "avx512cd": 28, "sha_ni": 29, "avx512bw": 30, "avx512vl": 31,
            ]
        )
        add(
            7,
            0,
            .ecx,
            [
                "avx512vbmi": 1, "ospke": 4, "waitpkg": 5, "avx512_vbmi2": 6, "gfni": 8, "vaes": 9, "vpclmulqdq": 10,
                "avx512_vnni": 11, "avx512_bitalg": 12, "avx512_vpopcntdq": 14, "rdpid": 22, "movdiri": 27,
                "movdir64b": 28,
            ]
        )
        add(
            7,
            0,
            .edx,
            [
                "avx512_4vnniw": 2, "avx512_4fmaps": 3, "avx512_vp2intersect": 8, "serialize": 14, "tsxldtrk": 16,
                "amx_bf16": 22, "avx512_fp16": 23, "amx_tile": 24, "amx_int8": 25,
            ]
        )
        add(
            7,
            1,
            .eax,
            [
                "sha512": 0, "sm3": 1, "sm4": 2, "avx_vnni": 4, "avx512_bf16": 5, "cmpccxadd": 7, "amx_fp16": 21,
                "avx_ifma": 23,
            ]
        )
        add(
            7,
            1,
            .edx,
            [
                "avx_vnni_int8": 4, "avx_ne_convert": 5, "amx_complex": 8, "avx_vnni_int16": 10, "avx10": 19,
                "apx_f": 21,
            ]
        )
        add(0xD, 1, .eax, ["xsaveopt": 0, "xsavec": 1, "xgetbv1": 2])
        return all
    }()
}
