/// The parts of the OCI image specification, version 1, that are read here.
enum OCIImage {
    struct Platform: Codable {
        var architecture: String?
        var os: String?
        var variant: String?
    }

    struct Descriptor: Codable {
        var mediaType: String?
        var digest: String
        var size: Int64?
        var annotations: [String: String]?
        var platform: Platform?
    }

    /// `index.json`, and an image index that stands in for several platforms.
    struct Index: Codable {
        var schemaVersion = 2
        var manifests: [Descriptor]
    }

    struct Manifest: Codable {
        var config: Descriptor
        var layers: [Descriptor]
    }

    struct Configuration: Codable {
        struct Execution: Codable {
            var user: String?
            var environment: [String]?
            var entryPoint: [String]?
            var command: [String]?
            var workingDirectory: String?
            var stopSignal: String?

            enum CodingKeys: String, CodingKey {
                case user = "User"
                case environment = "Env"
                case entryPoint = "Entrypoint"
                case command = "Cmd"
                case workingDirectory = "WorkingDir"
                case stopSignal = "StopSignal"
            }
        }
        var architecture: String?
        var os: String?
        var config: Execution?
    }

    /// The key under which an index names its manifests (image-spec, annotations.md).
    static let nameAnnotation = "org.opencontainers.image.ref.name"
}

/// Signals by the names that images use.
enum SignalName {
    private static let numbers: [String: Int32] = [
        "HUP": 1, "INT": 2, "QUIT": 3, "ABRT": 6, "KILL": 9, "USR1": 10, "USR2": 12, "PIPE": 13, "ALRM": 14, "TERM": 15,
        "CONT": 18, "STOP": 19, "TSTP": 20, "WINCH": 28, "PWR": 30,
    ]

    /// `SIGTERM`, `TERM`, `15`, `SIGRTMIN+3`; nil for anything else.
    static func number(_ text: String) -> Int32? {
        var name = text.uppercased()
        if name.hasPrefix("SIG") { name.removeFirst(3) }
        if let number = Int32(name), (1...64).contains(number) { return number }
        if name.hasPrefix("RTMIN+"), let offset = Int32(name.dropFirst(6)), (0...30).contains(offset) {
            return 34 + offset
        }
        return numbers[name]
    }
}
