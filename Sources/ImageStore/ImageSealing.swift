internal import COpenSSL
internal import Checkpointing
internal import Synchronization

/// The cluster's checkpoint keys, as far as this node knows them.
///
/// Whoever hears of a change replaces them; a store seals with the newest and opens with the one that an image names.
package final class CheckpointKeychain: Sendable {
    /// Bytes of a key.
    package static let keyByteCount = 32

    private let keys = Mutex<[UInt64: [UInt8]]>([:])

    /// Knows these keys, by their numbers.
    package init(_ keys: [UInt64: [UInt8]] = [:]) { replace(with: keys) }

    /// Knows these keys from now on; each must have `keyByteCount` random bytes and a number other than 0.
    package func replace(with new: [UInt64: [UInt8]]) {
        precondition(new.allSatisfy { $0.key != 0 && $0.value.count == Self.keyByteCount })
        keys.withLock { $0 = new }
    }

    /// The key to seal with; nil while the cluster has none.
    var newest: (number: UInt64, bytes: [UInt8])? {
        keys.withLock { keys in keys.max { $0.key < $1.key }.map { ($0.key, $0.value) } }
    }

    func bytes(_ number: UInt64) -> [UInt8]? { keys.withLock { $0[number] } }
}

/// What seals one image: a key that no other image has.
///
/// It is derived from a cluster's key and a salt that was drawn for this image alone (HKDF-Expand with SHA-256, RFC 5869 section 2.3). So the place of
/// a region in the data file can be its nonce: it is there once, and a region that was moved, or taken from another image, does not
/// open. The index is one sealed message of the same key; it holds the job, the generation and each region's place.
struct ImageSealing: Sendable {
    /// The number of the cluster's key.
    let key: UInt64
    let salt: [UInt8]
    private let imageKey: [UInt8]

    /// Bytes before the sealed index in its file.
    static let prefixByteCount = 56
    private static let saltByteCount = 32
    static let magic = Array("GODWITSX".utf8)
    private static let version: UInt16 = 1
    /// No region lies there.
    private static let indexNonce = [UInt8](repeating: 0xFF, count: ImageCipher.nonceByteCount)

    /// For a new image.
    init(key: UInt64, _ bytes: [UInt8]) throws {
        var salt = [UInt8](repeating: 0, count: Self.saltByteCount)
        guard unsafe RAND_bytes(&salt, Int32(Self.saltByteCount)) == 1 else {
            throw ImageStoreError(.system, "The kernel gives no random bytes to seal a checkpoint with.")
        }
        try self.init(key: key, salt: salt, bytes)
    }

    /// For the data of an image that was sealed before.
    init(key: UInt64, salt: [UInt8], _ bytes: [UInt8]) throws {
        (self.key, self.salt) = (key, salt)
        let info = Array("godwit image".utf8) + salt + [1]
        var derived = [UInt8](repeating: 0, count: CheckpointKeychain.keyByteCount)
        var count = 0
        let isDone = unsafe EVP_Q_mac(
            nil,
            "HMAC",
            nil,
            "SHA256",
            nil,
            bytes,
            bytes.count,
            info,
            info.count,
            &derived,
            derived.count,
            &count
        )
        guard unsafe isDone != nil, count == derived.count else {
            throw ImageStoreError(.system, "libcrypto could not derive the key of a checkpoint.")
        }
        imageKey = derived
    }

    /// A cipher for one thread.
    func cipher() throws -> ImageCipher { try ImageCipher(key: imageKey) }

    /// The nonce of the region that begins at this byte of the data file.
    static func nonce(at offset: UInt64) -> [UInt8] {
        var nonce = [UInt8](repeating: 0, count: ImageCipher.nonceByteCount)
        for index in 0..<8 { nonce[4 + index] = UInt8(truncatingIfNeeded: offset >> UInt64(8 * index)) }
        return nonce
    }

    // MARK: The index

    /// The index file: magic, version (2), zero (6), the key's number (8), the salt (32), all little-endian; then the sealed index and its tag.
    func sealed(index: [UInt8]) throws -> [UInt8] {
        var bytes = Self.magic
        bytes += [UInt8(Self.version & 0xFF), UInt8(Self.version >> 8), 0, 0, 0, 0, 0, 0]
        for shift in 0..<8 { bytes.append(UInt8(truncatingIfNeeded: key >> UInt64(8 * shift))) }
        bytes += salt
        let prefix = bytes
        bytes += index
        bytes += [UInt8](repeating: 0, count: ImageCipher.tagByteCount)
        let cipher = try cipher()
        try unsafe bytes.withUnsafeMutableBytes { buffer in
            let sealed = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[Self.prefixByteCount...])
            try unsafe cipher.seal(sealed, nonce: Self.indexNonce, additional: prefix)
        }
        return bytes
    }

    /// Whether a file begins as a sealed index does.
    static func isSealed(_ file: [UInt8]) -> Bool { file.starts(with: magic) }

    /// Opens an index file.
    /// - Throws: `ImageStoreError` with code `damaged` when it is not one that this cluster sealed.
    static func open(
        index file: [UInt8],
        of place: CheckpointPlace,
        keychain: CheckpointKeychain
    ) throws -> (sealing: ImageSealing, index: [UInt8]) {
        func refuse(_ what: String) -> ImageStoreError { .damaged(place, what) }
        guard file.count > prefixByteCount + ImageCipher.tagByteCount else { throw refuse("its index is cut off") }
        let found = UInt16(file[8]) | UInt16(file[9]) << 8
        guard found == version else {
            throw refuse(
                "its index is sealed in form \(found), which this release does not know; upgrade this node's agent"
            )
        }
        var number: UInt64 = 0
        for shift in 0..<8 { number |= UInt64(file[16 + shift]) << UInt64(8 * shift) }
        guard let key = keychain.bytes(number) else {
            throw refuse(
                "it is sealed under checkpoint key \(number), which this cluster does not have, so it is of another cluster"
            )
        }
        let prefix = Array(file[..<prefixByteCount])
        let sealing = try ImageSealing(key: number, salt: Array(prefix[24...]), key)
        let cipher = try sealing.cipher()
        var body = Array(file[prefixByteCount...])
        let isGood = unsafe body.withUnsafeMutableBytes {
            unsafe cipher.open($0, nonce: indexNonce, additional: prefix)
        }
        guard isGood else {
            throw refuse(
                "its index does not open under checkpoint key \(number): it was changed, or is of another cluster"
            )
        }
        body.removeLast(ImageCipher.tagByteCount)
        return (sealing, body)
    }

    /// SHA-256 in lower-case hexadecimal digits.
    static func digest(of bytes: [UInt8]) throws -> String {
        var hash = [UInt8](repeating: 0, count: 32)
        var count: UInt32 = 0
        guard unsafe EVP_Digest(bytes, bytes.count, &hash, &count, EVP_sha256(), nil) == 1, count == 32 else {
            throw ImageStoreError(.system, "libcrypto could not make a digest.")
        }
        let digits = Array("0123456789abcdef".utf8)
        return String(decoding: hash.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
    }
}

/// AES-256-GCM (NIST SP 800-38D) in place, under one key, for one thread at a time.
@safe final class ImageCipher {
    static let nonceByteCount = 12
    static let tagByteCount = ImageIndex.sealBytes
    private let sealing: OpaquePointer
    private let opening: OpaquePointer

    init(key: [UInt8]) throws {
        let failure = ImageStoreError(.system, "libcrypto has no memory for a cipher.")
        guard let sealing = unsafe EVP_CIPHER_CTX_new() else { throw failure }
        guard let opening = unsafe EVP_CIPHER_CTX_new() else {
            unsafe EVP_CIPHER_CTX_free(sealing)
            throw failure
        }
        unsafe (self.sealing, self.opening) = (sealing, opening)
        guard unsafe EVP_EncryptInit_ex(sealing, EVP_aes_256_gcm(), nil, key, nil) == 1,
            unsafe EVP_DecryptInit_ex(opening, EVP_aes_256_gcm(), nil, key, nil) == 1
        else { throw failure }
    }

    deinit {
        // Both cleanse the key that they hold.
        unsafe EVP_CIPHER_CTX_free(sealing)
        unsafe EVP_CIPHER_CTX_free(opening)
    }

    /// Encrypts all but the last `tagByteCount` bytes and writes the tag there.
    func seal(_ bytes: UnsafeMutableRawBufferPointer, nonce: [UInt8], additional: [UInt8] = []) throws {
        let count = bytes.count - Self.tagByteCount
        precondition(count >= 0 && nonce.count == Self.nonceByteCount)
        let text = unsafe bytes.baseAddress?.assumingMemoryBound(to: UInt8.self)
        var written: Int32 = 0
        let isDone =
            unsafe EVP_EncryptInit_ex(sealing, nil, nil, nil, nonce) == 1
            && (additional.isEmpty
                || EVP_EncryptUpdate(sealing, nil, &written, additional, Int32(additional.count)) == 1)
            && EVP_EncryptUpdate(sealing, text, &written, text, Int32(count)) == 1
            && EVP_EncryptFinal_ex(sealing, text.map { unsafe $0 + count }, &written) == 1
            && EVP_CIPHER_CTX_ctrl(
                sealing,
                EVP_CTRL_AEAD_GET_TAG,
                Int32(Self.tagByteCount),
                text.map { unsafe $0 + count }
            )
                == 1
        guard isDone else { throw ImageStoreError(.system, "libcrypto could not seal a checkpoint.") }
    }

    /// Decrypts all but the last `tagByteCount` bytes and says whether exactly this was sealed so.
    ///
    /// When not, the bytes are worth nothing.
    func open(_ bytes: UnsafeMutableRawBufferPointer, nonce: [UInt8], additional: [UInt8] = []) -> Bool {
        let count = bytes.count - Self.tagByteCount
        guard count >= 0, nonce.count == Self.nonceByteCount else { return false }
        let text = unsafe bytes.baseAddress?.assumingMemoryBound(to: UInt8.self)
        var written: Int32 = 0
        let isGood =
            unsafe EVP_DecryptInit_ex(opening, nil, nil, nil, nonce) == 1
            && (additional.isEmpty
                || EVP_DecryptUpdate(opening, nil, &written, additional, Int32(additional.count)) == 1)
            && EVP_DecryptUpdate(opening, text, &written, text, Int32(count)) == 1
            && EVP_CIPHER_CTX_ctrl(
                opening,
                EVP_CTRL_AEAD_SET_TAG,
                Int32(Self.tagByteCount),
                text.map { unsafe $0 + count }
            )
                == 1
            && EVP_DecryptFinal_ex(opening, text.map { unsafe $0 + count }, &written) == 1
        if !isGood { ERR_clear_error() }
        return isGood
    }
}
