import Glibc
import NIO

/// A numeric address and port of a datagram, in 18 bytes; an IPv4 address is held mapped into IPv6.
package struct DatagramAddress: Hashable, Sendable, CustomStringConvertible {
    /// The first eight bytes of the IPv6 address.
    package let high: UInt64
    /// The last eight.
    package let low: UInt64
    /// 0 only where any free port is meant.
    package let port: UInt16

    package init(high: UInt64, low: UInt64, port: UInt16) { (self.high, self.low, self.port) = (high, low, port) }

    /// The address that a text names, `10.0.0.1` or `fd00::1`; nil when it is not a numeric address.
    package init?(numeric text: String, port: UInt16) {
        var four = in_addr()
        if unsafe inet_pton(AF_INET, text, &four) == 1 {
            self.init(ipv4: UInt32(bigEndian: four.s_addr), port: port)
            return
        }
        var six = in6_addr()
        guard unsafe inet_pton(AF_INET6, text, &six) == 1 else { return nil }
        self.init(six, port: port)
    }

    init(_ address: in6_addr, port: UInt16) {
        let words = unsafe withUnsafeBytes(of: address) {
            unsafe $0.bindMemory(to: UInt64.self).map { UInt64(bigEndian: $0) }
        }
        self.init(high: words[0], low: words[1], port: port)
    }

    init?(_ address: SocketAddress) {
        switch address {
        case .v4(let four):
            self.init(
                ipv4: UInt32(bigEndian: four.address.sin_addr.s_addr),
                port: UInt16(bigEndian: four.address.sin_port)
            )
        case .v6(let six): self.init(six.address.sin6_addr, port: UInt16(bigEndian: six.address.sin6_port))
        case .unixDomainSocket: return nil
        }
    }

    init(ipv4 address: UInt32, port: UInt16) {
        self.init(high: 0, low: 0xFFFF_0000_0000 | UInt64(address), port: port)
    }

    /// The IPv4 address, if it is one.
    var ipv4: UInt32? { high == 0 && low >> 32 == 0xFFFF ? UInt32(truncatingIfNeeded: low) : nil }

    private var inet4: sockaddr_in {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(truncatingIfNeeded: low).bigEndian
        return address
    }

    private var inet6: sockaddr_in6 {
        var address = sockaddr_in6()
        address.sin6_family = sa_family_t(AF_INET6)
        address.sin6_port = port.bigEndian
        unsafe withUnsafeMutableBytes(of: &address.sin6_addr) { bytes in
            unsafe bytes.storeBytes(of: high.bigEndian, as: UInt64.self)
            unsafe bytes.storeBytes(of: low.bigEndian, toByteOffset: 8, as: UInt64.self)
        }
        return address
    }

    /// The address as a socket of that family takes it: one of IPv6 takes IPv4 addresses mapped.
    func withSocketAddress<Result>(
        isInet6: Bool,
        _ body: (UnsafePointer<sockaddr>, socklen_t) -> Result
    ) -> Result {
        func give<Address>(_ address: Address) -> Result {
            unsafe withUnsafePointer(to: address) { pointer in
                unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    unsafe body($0, socklen_t(MemoryLayout<Address>.size))
                }
            }
        }
        return isInet6 ? give(inet6) : give(inet4)
    }

    package var description: String {
        var text = [CChar](repeating: 0, count: 64)
        if ipv4 != nil {
            var four = inet4.sin_addr
            unsafe inet_ntop(AF_INET, &four, &text, socklen_t(text.count))
        } else {
            var six = inet6.sin6_addr
            unsafe inet_ntop(AF_INET6, &six, &text, socklen_t(text.count))
        }
        let name = String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return ipv4 != nil ? "\(name):\(port)" : "[\(name)]:\(port)"
    }
}
