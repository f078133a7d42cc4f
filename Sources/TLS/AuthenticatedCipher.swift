import COpenSSL

/// AES-256-GCM under one key (NIST SP 800-38D): keeps short messages secret and whole.
///
/// Owns libcrypto's contexts with the expanded key, so that a message costs no key schedule. Not for two threads at once. The
/// caller promises that no nonce is used twice under a key.
@safe
package final class AuthenticatedCipher {
    /// Bytes of a key.
    package static let keyByteCount = 32
    /// Bytes of a nonce.
    package static let nonceByteCount = 12
    /// Bytes that a sealed message is longer than the message.
    package static let tagByteCount = 16

    private let sealing: OpaquePointer
    private let opening: OpaquePointer

    /// Expands a key of `keyByteCount` bytes.
    /// - Throws: `TLSError` with code `library` when libcrypto has no memory.
    package init(key: [UInt8]) throws(TLSError) {
        precondition(key.count == Self.keyByteCount, "a key of \(key.count) bytes, not \(Self.keyByteCount)")
        LibSSL.enter()
        guard let sealing = unsafe EVP_CIPHER_CTX_new() else { throw TLSError.library("making a cipher") }
        guard let opening = unsafe EVP_CIPHER_CTX_new() else {
            unsafe EVP_CIPHER_CTX_free(sealing)
            throw TLSError.library("making a cipher")
        }
        unsafe (self.sealing, self.opening) = (sealing, opening)
        guard unsafe EVP_EncryptInit_ex(sealing, EVP_aes_256_gcm(), nil, key, nil) == 1,
            unsafe EVP_DecryptInit_ex(opening, EVP_aes_256_gcm(), nil, key, nil) == 1
        else { throw TLSError.library("expanding a key") }
    }

    deinit {
        // Both cleanse the key that they hold.
        unsafe EVP_CIPHER_CTX_free(sealing)
        unsafe EVP_CIPHER_CTX_free(opening)
    }

    /// Encrypts `bytes[start...]` in place and appends the tag, which covers `additional` too.
    /// - Throws: `TLSError` with code `library`; the bytes must not be sent then.
    package func seal(
        _ bytes: inout [UInt8],
        from start: Int,
        nonce: [UInt8],
        additional: [UInt8]
    ) throws(TLSError) {
        precondition(nonce.count == Self.nonceByteCount && start <= bytes.count)
        let count = bytes.count - start
        bytes.append(contentsOf: repeatElement(0, count: Self.tagByteCount))
        let context = unsafe sealing
        let isDone = unsafe bytes.withUnsafeMutableBufferPointer { buffer -> Bool in
            guard let base = buffer.baseAddress else { return false }
            let text = unsafe base + start
            var written: Int32 = 0
            return unsafe EVP_EncryptInit_ex(context, nil, nil, nil, nonce) == 1
                && EVP_EncryptUpdate(context, nil, &written, additional, Int32(additional.count)) == 1
                && EVP_EncryptUpdate(context, text, &written, text, Int32(count)) == 1
                && EVP_EncryptFinal_ex(context, text + count, &written) == 1
                && EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, Int32(Self.tagByteCount), text + count) == 1
        }
        guard isDone else {
            LibSSL.enter()
            throw TLSError.library("sealing a message")
        }
    }

    /// Decrypts `bytes[start...]` in place and takes the tag off its end.
    ///
    /// - Returns: whether exactly this was sealed under this key and nonce with `additional`; when not, the bytes are worth nothing.
    package func open(_ bytes: inout [UInt8], from start: Int, nonce: [UInt8], additional: [UInt8]) -> Bool {
        precondition(nonce.count == Self.nonceByteCount)
        let count = bytes.count - start - Self.tagByteCount
        guard start >= 0, count >= 0 else { return false }
        let context = unsafe opening
        let isGood = unsafe bytes.withUnsafeMutableBufferPointer { buffer -> Bool in
            guard let base = buffer.baseAddress else { return false }
            let text = unsafe base + start
            var written: Int32 = 0
            return unsafe EVP_DecryptInit_ex(context, nil, nil, nil, nonce) == 1
                && EVP_DecryptUpdate(context, nil, &written, additional, Int32(additional.count)) == 1
                && EVP_DecryptUpdate(context, text, &written, text, Int32(count)) == 1
                && EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, Int32(Self.tagByteCount), text + count) == 1
                && EVP_DecryptFinal_ex(context, text + count, &written) == 1
        }
        bytes.removeLast(Self.tagByteCount)
        if !isGood { ERR_clear_error() }
        return isGood
    }
}

/// Keys from keys.
package enum KeyDerivation {
    /// The first 32 bytes of HKDF-Expand with SHA-256 (RFC 5869, section 2.3).
    ///
    /// `key` is uniformly random already, so the extraction step is left out (section 3.3). Different `info` give keys that say
    /// nothing about each other.
    /// - Throws: `TLSError` with code `library` when libcrypto has no memory.
    package static func expand(_ key: [UInt8], info: [UInt8]) throws(TLSError) -> [UInt8] {
        LibSSL.enter()
        let message = info + [1]
        var output = [UInt8](repeating: 0, count: 32)
        var count = 0
        guard
            unsafe EVP_Q_mac(
                nil,
                "HMAC",
                nil,
                "SHA256",
                nil,
                key,
                key.count,
                message,
                message.count,
                &output,
                output.count,
                &count
            ) != nil, count == output.count
        else { throw TLSError.library("deriving a key") }
        return output
    }
}

/// Random bytes for keys and salts.
package enum SecureRandom {
    /// That many bytes of libcrypto's generator, which draws its seed from the kernel.
    /// - Throws: `TLSError` with code `library` when the kernel gives no randomness.
    package static func bytes(_ count: Int) throws(TLSError) -> [UInt8] {
        LibSSL.enter()
        var bytes = [UInt8](repeating: 0, count: count)
        guard unsafe RAND_bytes(&bytes, Int32(count)) == 1 else { throw TLSError.library("drawing random bytes") }
        return bytes
    }
}
