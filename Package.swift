// swift-tools-version: 6.3
import PackageDescription

// The house in one screen. Read from the top: a target may use only what stands above it, and only what it names.
// `Tests/TidyTests` checks from the sources that this is so, and that the pure targets stay pure.

let argumentParser = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")
let grdb = Target.Dependency.product(name: "GRDB", package: "GRDB.swift")
let httpTypes = Target.Dependency.product(name: "HTTPTypes", package: "swift-http-types")
let hummingbird = Target.Dependency.product(name: "Hummingbird", package: "hummingbird")
let lifecycle = Target.Dependency.product(name: "ServiceLifecycle", package: "swift-service-lifecycle")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let metrics = Target.Dependency.product(name: "Metrics", package: "swift-metrics")
let nio = Target.Dependency.product(name: "NIO", package: "swift-nio")
let protobuf = Target.Dependency.product(name: "SwiftProtobuf", package: "swift-protobuf")
let sqlite = Target.Dependency.product(name: "GRDBSQLite", package: "GRDB.swift")
let unixSignals = Target.Dependency.product(name: "UnixSignals", package: "swift-service-lifecycle")
let yams = Target.Dependency.product(name: "Yams", package: "Yams")

let package = Package(
    name: "godwit",
    products: [
        .executable(name: "godwitd", targets: ["godwitd"]),
        .executable(name: "godwit", targets: ["godwit"]),
        .executable(name: "godwit-shim", targets: ["godwit-shim"]),
        .executable(name: "godwit-sim", targets: ["godwit-sim"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-http-types", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-protobuf", from: "1.39.0"),
        .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
        .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
    ],
    targets: [
        // MARK: Vocabulary (pure)
        .target(name: "ClusterModel"),
        .target(name: "WireFormat"),

        // MARK: Protocols and policies (pure)
        .target(name: "QoS", dependencies: ["ClusterModel"]),
        .target(name: "Checkpointing", dependencies: ["ClusterModel"]),
        .target(name: "ClusterState", dependencies: ["ClusterModel"]),
        .target(name: "Placement", dependencies: ["ClusterModel", "QoS", "ClusterState"]),
        .target(name: "SWIM", dependencies: ["ClusterModel", "WireFormat"]),
        .target(name: "Raft", dependencies: ["ClusterModel", "WireFormat"]),
        .target(name: "ResourceSamples", dependencies: ["ClusterModel"]),
        .target(name: "AgentConfiguration", dependencies: ["ClusterModel"]),

        // MARK: System: the only code that touches the kernel or a C library
        .systemLibrary(name: "COpenSSL", pkgConfig: "openssl", providers: [.apt(["libssl-dev"])]),
        .systemLibrary(name: "CLZ4", pkgConfig: "liblz4", providers: [.apt(["liblz4-dev"])]),
        .target(name: "CLinux"),
        .target(name: "CNVML"),
        .target(name: "CShims", dependencies: ["COpenSSL"]),
        .target(name: "LinuxSystem", dependencies: ["CLinux", "ResourceSamples", "ClusterModel"]),
        .target(name: "TLS", dependencies: ["COpenSSL", "CShims", "ClusterModel", nio]),
        .target(name: "ControlMessages", dependencies: [protobuf]),
        .target(
            name: "Transport",
            dependencies: ["TLS", "WireFormat", "ClusterModel", "ControlMessages", nio, protobuf]
        ),
        .target(name: "Storage", dependencies: ["ClusterModel", grdb]),
        .target(name: "Containers", dependencies: ["LinuxSystem", "Checkpointing", "ClusterModel", "ResourceSamples"]),
        .target(
            name: "ImageStore",
            dependencies: ["CLZ4", "COpenSSL", "Checkpointing", "ClusterModel", "LinuxSystem"]
        ),
        .target(name: "GPU", dependencies: ["CNVML", "LinuxSystem", "ResourceSamples", "ClusterModel"]),

        // MARK: Agent
        .target(
            name: "Agent",
            dependencies: [
                "ClusterModel", "QoS", "Checkpointing", "ClusterState", "Placement", "ResourceSamples",
                "AgentConfiguration", "LinuxSystem", "TLS", "ControlMessages", "Transport", "Storage",
                "Containers", "ImageStore", "GPU", "Raft", "SWIM", "WireFormat",
                httpTypes, hummingbird, lifecycle, logging, metrics, nio, protobuf, unixSignals, yams,
            ]
        ),
        .target(
            name: "ControlAPI",
            dependencies: ["TLS", "ControlMessages", "Transport", nio]
        ),

        // MARK: Programs
        .executableTarget(
            name: "godwitd",
            dependencies: ["Agent", "AgentConfiguration", "ClusterModel", argumentParser]
        ),
        .executableTarget(
            name: "godwit",
            dependencies: [
                "ControlAPI", "ControlMessages", "ClusterModel", "TLS", "Transport", protobuf, argumentParser,
            ]
        ),
        .executableTarget(name: "godwit-shim", dependencies: ["CLinux"]),

        // MARK: Verification
        .target(
            name: "ClusterSim",
            dependencies: [
                "ClusterModel", "Checkpointing", "ClusterState", "Placement", "QoS", "Raft", "SWIM", "WireFormat",
            ]
        ),
        .executableTarget(name: "godwit-sim", dependencies: ["ClusterSim", "ClusterModel", "QoS", argumentParser]),
        .executableTarget(
            name: "integration",
            dependencies: [
                "ControlAPI", "ControlMessages", "ClusterModel", "Transport", "TLS", "LinuxSystem", "ResourceSamples",
                nio,
            ],
            path: "integration",
            exclude: ["Benchmarks", "workloads", "ThreadSanitizer", "test", "README.md"]
        ),
        .testTarget(name: "ClusterModelTests", dependencies: ["ClusterModel"]),
        .testTarget(name: "WireFormatTests", dependencies: ["WireFormat", "ClusterModel"]),
        .testTarget(name: "QoSTests", dependencies: ["QoS", "ClusterModel"]),
        .testTarget(name: "CheckpointingTests", dependencies: ["Checkpointing", "ClusterModel"]),
        .testTarget(
            name: "ClusterStateTests",
            dependencies: ["ClusterState", "ClusterModel"],
            exclude: ["Stored"]
        ),
        .testTarget(name: "PlacementTests", dependencies: ["Placement", "QoS", "ClusterState", "ClusterModel"]),
        .testTarget(name: "SWIMTests", dependencies: ["ClusterSim", "SWIM", "ClusterModel", "WireFormat"]),
        .testTarget(
            name: "RaftTests",
            dependencies: ["Raft", "ClusterModel", "WireFormat"],
            exclude: ["Scripts"]
        ),
        .testTarget(
            name: "ResourceSamplesTests",
            dependencies: ["ResourceSamples", "ClusterModel"],
            exclude: ["Fixtures"]
        ),
        .testTarget(name: "AgentConfigurationTests", dependencies: ["AgentConfiguration", "ClusterModel"]),
        .testTarget(
            name: "LinuxSystemTests",
            dependencies: ["LinuxSystem", "ResourceSamples", "ClusterModel"]
        ),
        .testTarget(name: "TLSTests", dependencies: ["TLS", "ClusterModel", nio]),
        .testTarget(
            name: "TransportTests",
            dependencies: [
                "Transport", "ControlAPI", "ControlMessages", "TLS", "WireFormat", "ClusterModel", nio, protobuf,
            ]
        ),
        .testTarget(name: "StorageTests", dependencies: ["Storage", "ClusterModel", grdb, sqlite]),
        .testTarget(
            name: "ContainersTests",
            dependencies: ["Containers", "LinuxSystem", "Checkpointing", "ClusterModel", "godwit-shim"]
        ),
        .testTarget(name: "ImageStoreTests", dependencies: ["ImageStore", "Checkpointing", "ClusterModel"]),
        .testTarget(
            name: "GPUTests",
            dependencies: ["GPU", "LinuxSystem", "ResourceSamples", "ClusterModel"],
            exclude: ["Stub"]
        ),
        .testTarget(
            name: "AgentTests",
            dependencies: [
                "Agent", "AgentConfiguration", "Checkpointing", "ClusterModel", "ClusterState", "Containers",
                "ControlAPI", "ControlMessages", "GPU", "ImageStore", "LinuxSystem", "Placement", "QoS", "Raft",
                "ResourceSamples",
                "Storage", "SWIM", "TLS", "Transport", logging, metrics, nio, protobuf,
            ]
        ),
        .testTarget(
            name: "GodwitTests",
            dependencies: ["godwit", "ClusterModel", "ControlMessages", protobuf, argumentParser],
            exclude: ["Golden"]
        ),
        .testTarget(
            name: "ClusterSimTests",
            dependencies: ["ClusterSim", "ClusterModel", "QoS", "Raft"],
            exclude: ["Histories"]
        ),
        .testTarget(name: "TidyTests"),
    ]
)

// The benchmarks, on demand: a normal build fetches no peer that Godwit is only measured against.
if Context.environment["GODWIT_BENCHMARKS"] != nil {
    package.dependencies.append(.package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.0"))
    package.products.append(.executable(name: "godwit-bench", targets: ["godwit-bench"]))
    package.targets.append(
        .executableTarget(
            name: "godwit-bench",
            dependencies: [
                "CLZ4", "Checkpointing", "ClusterModel", "ClusterSim", "Containers", "ControlAPI", "ControlMessages",
                "ImageStore", "LinuxSystem", "QoS", "ResourceSamples", "TLS", "Transport",
                argumentParser, nio, protobuf, .product(name: "NIOTLS", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
            ],
            path: "integration/Benchmarks",
            exclude: ["workloads"]
        )
    )
}

// Some of the tests with all that they need, on demand: a sanitizer need not build what it is not to look at.
if let tests = Context.environment["GODWIT_TESTS"] {
    var wanted: Set<String> = []
    var open = tests.split(separator: " ").map(String.init)
    while let name = open.popLast() {
        guard wanted.insert(name).inserted else { continue }
        guard let target = package.targets.first(where: { $0.name == name }) else { fatalError("no target \(name)") }
        open += target.dependencies.compactMap { if case .byNameItem(let name, _) = $0 { name } else { nil } }
    }
    package.targets.removeAll { !wanted.contains($0.name) }
    package.products.removeAll { !wanted.contains($0.name) }
}

// What protoc generates is not ours to make memory-safe by annotation; it is a target of its own so that all else is.
let generated: Set = ["ControlMessages"]

for target in package.targets where target.type != .system {
    target.swiftSettings =
        (target.swiftSettings ?? []) + [
            .enableUpcomingFeature("ExistentialAny"),
            .enableUpcomingFeature("InternalImportsByDefault"),
            .enableUpcomingFeature("MemberImportVisibility"),
            .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
            .enableUpcomingFeature("InferIsolatedConformances"),
            .enableUpcomingFeature("ImmutableWeakCaptures"),
            .treatAllWarnings(as: .error),
        ]
    if !generated.contains(target.name) {
        target.swiftSettings?.append(.strictMemorySafety())
    }
}
