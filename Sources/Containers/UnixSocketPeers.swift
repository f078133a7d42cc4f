internal import Glibc

/// Asks the kernel which Unix sockets are connected with which (sock_diag(7)).
enum UnixSocketPeers {
    /// Inode of a socket and of its peer, for all of this network namespace; nil when the kernel does not say.
    static func all() -> [UInt32: UInt32]? {
        let netlink = socket(
            16 /* AF_NETLINK */,
            Int32(SOCK_RAW.rawValue) | Int32(SOCK_CLOEXEC.rawValue),
            4 /* NETLINK_SOCK_DIAG */
        )
        guard netlink >= 0 else { return nil }
        defer { close(netlink) }
        // struct nlmsghdr, then struct unix_diag_req, in the machine's byte order.
        var request: [UInt8] = []
        func append(_ value: some FixedWidthInteger) {
            var rest = UInt64(truncatingIfNeeded: value)
            for _ in 0..<(value.bitWidth / 8) {
                request.append(UInt8(truncatingIfNeeded: rest))
                rest >>= 8
            }
        }
        append(UInt32(40))
        append(UInt16(20))  // SOCK_DIAG_BY_FAMILY
        append(UInt16(0x301))  // NLM_F_REQUEST | NLM_F_DUMP
        append(UInt64(1))
        append(UInt16(1))  // AF_UNIX, protocol 0
        append(UInt16(0))
        append(UInt32.max)  // in any state
        append(UInt32(0))
        append(UInt32(4))  // UDIAG_SHOW_PEER
        append(UInt64.max)
        guard unsafe send(netlink, request, request.count, 0) == request.count else { return nil }

        var peers: [UInt32: UInt32] = [:]
        var buffer = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            let count = unsafe recv(netlink, &buffer, buffer.count, 0)
            guard count > 0 else { return nil }
            switch collect(buffer[..<count], into: &peers) {
            case true?: return peers
            case false?: return nil
            case nil: continue
            }
        }
    }

    /// Reads the messages of one datagram: true at the end of the answer, false on an error, nil when more is to come.
    private static func collect(_ bytes: ArraySlice<UInt8>, into peers: inout [UInt32: UInt32]) -> Bool? {
        func number(_ at: Int, _ width: Int) -> UInt32 {
            (0..<width).reduce(0) { $0 | UInt32(bytes[at + $1]) << UInt32(8 * $1) }
        }
        var at = bytes.startIndex
        while at + 16 <= bytes.endIndex {
            let (length, type) = (Int(number(at, 4)), number(at + 4, 2))
            guard length >= 16, at + length <= bytes.endIndex else { return false }
            if type == 3 { return true }  // NLMSG_DONE
            if type == 2 { return false }  // NLMSG_ERROR
            if length >= 32 {
                let inode = number(at + 20, 4)
                var attribute = at + 32
                while attribute + 4 <= at + length {
                    let size = Int(number(attribute, 2))
                    if size < 4 { break }
                    // UNIX_DIAG_PEER
                    if number(attribute + 2, 2) == 2, size >= 8 { peers[inode] = number(attribute + 4, 4) }
                    attribute += (size + 3) & ~3
                }
            }
            at += (length + 3) & ~3
        }
        return nil
    }
}
