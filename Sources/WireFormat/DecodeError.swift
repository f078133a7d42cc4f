/// Why bytes are not what they should be.
///
/// Every decoder of the cluster throws this and nothing else, so that a caller can count and refuse without looking further.
package enum DecodeError: Error, Sendable, Equatable, CustomStringConvertible {
    /// `wanted` more bytes were needed at `offset`; only `available` were left.
    case truncated(offset: Int, wanted: Int, available: Int)
    /// A length says more than its bound allows.
    case tooLong(field: String, count: Int, limit: Int)
    /// A field holds a value that its definition does not know.
    case invalid(field: String, value: UInt64)
    /// Text that is not UTF-8.
    case notText(field: String)
    /// Bytes were left after the last field.
    case trailing(count: Int)

    package var description: String {
        switch self {
        case .truncated(let offset, let wanted, let available):
            "\(wanted) bytes were expected at offset \(offset), but \(available) are left"
        case .tooLong(let field, let count, let limit): "\(field) is \(count) bytes long, more than \(limit)"
        case .invalid(let field, let value): "\(field) is \(value), which means nothing"
        case .notText(let field): "\(field) is not UTF-8"
        case .trailing(let count): "\(count) bytes follow the last field"
        }
    }
}
