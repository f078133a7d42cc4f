internal import COpenSSL

/// SHA-256 of bytes that come piece by piece.
@safe final class RunningDigest {
    private let context: OpaquePointer

    init() throws {
        guard let context = unsafe EVP_MD_CTX_new() else {
            throw ImageStoreError(.system, "libcrypto has no memory for a digest.")
        }
        unsafe self.context = context
        guard unsafe EVP_DigestInit_ex(context, EVP_sha256(), nil) == 1 else {
            throw ImageStoreError(.system, "libcrypto could not make a digest.")
        }
    }

    deinit { unsafe EVP_MD_CTX_free(context) }

    func update(_ bytes: [UInt8]) {
        unsafe bytes.withUnsafeBytes { _ = unsafe EVP_DigestUpdate(context, $0.baseAddress, $0.count) }
    }

    /// In lower-case hexadecimal digits; nothing more may be added after it.
    func text() -> String {
        var hash = [UInt8](repeating: 0, count: 32)
        var count: UInt32 = 0
        _ = unsafe EVP_DigestFinal_ex(context, &hash, &count)
        let digits = Array("0123456789abcdef".utf8)
        return String(decoding: hash.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
    }
}
