import Foundation
import TLS
import Testing

/// The cipher and the derivation give what their standards say, and a changed byte is never accepted.
struct AuthenticatedCipherTests {
    private static func bytes(_ digits: String) -> [UInt8] {
        stride(from: 0, to: digits.count, by: 2).compactMap { offset in
            let start = digits.index(digits.startIndex, offsetBy: offset)
            return UInt8(digits[start..<digits.index(start, offsetBy: 2)], radix: 16)
        }
    }

    /// Test case 16 of "The Galois/Counter Mode of Operation" (McGrew and Viega), AES-256 with additional data.
    private static let key = bytes("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308")
    private static let nonce = bytes("cafebabefacedbaddecaf888")
    private static let additional = bytes("feedfacedeadbeeffeedfacedeadbeefabaddad2")
    private static let text = bytes(
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
    )
    private static let sealed = bytes(
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
            + "76fc6ece0f4e1768cddf8853bb2d551b"
    )

    @Test func sealsAsThePublishedCaseSays() throws {
        let cipher = try AuthenticatedCipher(key: Self.key)
        var bytes = [1, 2, 3] + Self.text
        try cipher.seal(&bytes, from: 3, nonce: Self.nonce, additional: Self.additional)
        #expect(bytes == [1, 2, 3] + Self.sealed)
        #expect(cipher.open(&bytes, from: 3, nonce: Self.nonce, additional: Self.additional))
        #expect(bytes == [1, 2, 3] + Self.text)
    }

    @Test func refusesEveryChangedByte() throws {
        let cipher = try AuthenticatedCipher(key: Self.key)
        for index in Self.sealed.indices {
            var bytes = Self.sealed
            bytes[index] ^= 0x10
            #expect(!cipher.open(&bytes, from: 0, nonce: Self.nonce, additional: Self.additional), "byte \(index)")
        }
        for index in Self.additional.indices {
            var (bytes, additional) = (Self.sealed, Self.additional)
            additional[index] ^= 1
            #expect(!cipher.open(&bytes, from: 0, nonce: Self.nonce, additional: additional), "additional \(index)")
        }
        var (bytes, nonce) = (Self.sealed, Self.nonce)
        nonce[11] ^= 1
        #expect(!cipher.open(&bytes, from: 0, nonce: nonce, additional: Self.additional))
        // After all that the good bytes are still opened.
        bytes = Self.sealed
        #expect(cipher.open(&bytes, from: 0, nonce: Self.nonce, additional: Self.additional))
    }

    @Test func sealsNothing() throws {
        let cipher = try AuthenticatedCipher(key: Self.key)
        var bytes: [UInt8] = []
        try cipher.seal(&bytes, from: 0, nonce: Self.nonce, additional: [])
        #expect(bytes.count == AuthenticatedCipher.tagByteCount)
        #expect(cipher.open(&bytes, from: 0, nonce: Self.nonce, additional: []))
        #expect(bytes == [])
        var short: [UInt8] = [1, 2, 3]
        #expect(!cipher.open(&short, from: 0, nonce: Self.nonce, additional: []))
    }

    @Test("RFC 5869, test case 1: the first block of the expansion")
    func expandsAsTheStandardSays() throws {
        let key = Self.bytes("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5")
        let info = Self.bytes("f0f1f2f3f4f5f6f7f8f9")
        #expect(
            try KeyDerivation.expand(key, info: info)
                == Self.bytes("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf")
        )
    }

    @Test func randomBytesAreNotRepeated() throws {
        let draws = try (0..<64).map { _ in try SecureRandom.bytes(32) }
        #expect(Set(draws).count == draws.count)
        #expect(draws.allSatisfy { $0.count == 32 })
    }

    @Test func secretsAreReplacedAsAWholeAndReadByTheirOwnerOnly() throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "secret-\(UUID())")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let path = folder.appending(path: "keyring").path
        #expect(throws: TLSError.self) { try SecretStore.read(path, missingHint: "join the cluster") }
        try SecretStore.replace(path, with: [1, 2, 3])
        try SecretStore.replace(path, with: [4, 5])
        #expect(try SecretStore.read(path, missingHint: "") == [4, 5])
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == ["keyring"])
        let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
        #expect(mode == 0o600)
        try FileManager.default.setAttributes([.posixPermissions: 0o640], ofItemAtPath: path)
        #expect(throws: TLSError.self) { try SecretStore.read(path, missingHint: "") }
    }
}
