/// One message of CRIU's page-server protocol: 32 bytes, after which pages may follow as they are.
///
/// As CRIU 4.2 lays out `struct page_server_iov` (criu/page-xfer.c): command and flags in 32 bits, 4 bytes of padding that mean nothing, then
/// three words of 64 bits, all in the order of the machine, which is little-endian wherever Godwit runs.
package struct PageServerMessage: Sendable, Equatable {
    /// What it says; the low 16 bits of the first word.
    package enum Command: UInt16, Sendable, CaseIterable {
        /// Pages follow, which are to be kept; the form without flags.
        case add = 1
        /// These pages are in an earlier dump; the form without flags.
        case hole = 2
        case open = 3
        /// As `open`, answered with one byte: whether there is an earlier dump.
        case openAnswered = 4
        /// Asks whether there is an earlier dump; answered with 32 bits.
        case parent = 5
        /// With flags: pages follow if they say `present`.
        case addWithFlags = 6
        /// Asks for pages; answered with `addWithFlags` and the pages, fewer than asked for where the server likes.
        case get = 7
        /// The last message, answered with 32 bits: 0 says that all is well.
        case close = 0x1023
        /// The last message on a socket that was handed over; answered as `close`.
        case forceClose = 0x1024
    }

    /// Its length on the wire.
    package static let byteCount = 32
    /// Pages that one message may be about, 16 GiB; CRIU asks for 4 MiB at most.
    package static let pageLimit: UInt64 = 1 << 22

    package var command: Command
    /// The high 16 bits of the first word.
    package var flags: PageFlags
    /// 1 to `pageLimit` where the command is about pages, else without meaning.
    package var pageCount: UInt64
    /// Where the pages lay in the process that was dumped; a multiple of the page size.
    package var address: UInt64
    /// Whose pages: for `get` the process's number in its own PID namespace, else the number shifted by 8 bits over a type.
    package var owner: UInt64

    package init(
        _ command: Command,
        flags: PageFlags = [],
        pageCount: UInt64 = 0,
        address: UInt64 = 0,
        owner: UInt64 = 0
    ) {
        (self.command, self.flags) = (command, flags)
        (self.pageCount, self.address, self.owner) = (pageCount, address, owner)
    }

    /// The answer to a `get` of which these pages follow.
    package func answer(pageCount: Int) -> PageServerMessage {
        PageServerMessage(
            .addWithFlags,
            flags: .present,
            pageCount: UInt64(pageCount),
            address: address,
            owner: owner
        )
    }

    /// The bytes on the wire, padding zero.
    package func encoded() -> [UInt8] {
        var writer = ByteWriter()
        writer.append(UInt32(command.rawValue) | UInt32(flags.rawValue) << 16)
        writer.append(UInt32(0))
        writer.append(pageCount)
        writer.append(address)
        writer.append(owner)
        return writer.bytes
    }

    /// Reads the 32 bytes of a message.
    /// - Throws: ``CRIUImageError`` when they are not one that a program may act on: another length, an unknown command, pages that no address
    ///   space has.
    package static func decode(_ bytes: Span<UInt8>) throws(CRIUImageError) -> PageServerMessage {
        let place = "message of the page server"
        func refuse(_ problem: String) -> CRIUImageError { CRIUImageError(place: place, problem: problem) }
        guard bytes.count == byteCount else { throw refuse("\(bytes.count) bytes instead of \(byteCount)") }
        func word(at offset: Int, count: Int) -> UInt64 {
            var value: UInt64 = 0
            for index in 0..<count { value |= UInt64(bytes[offset + index]) << UInt64(8 * index) }
            return value
        }
        let first = word(at: 0, count: 4)
        guard let command = Command(rawValue: UInt16(first & 0xFFFF)) else {
            throw refuse("unknown command \(first & 0xFFFF)")
        }
        let message = PageServerMessage(
            command,
            flags: PageFlags(rawValue: UInt32(first >> 16)),
            pageCount: word(at: 8, count: 8),
            address: word(at: 16, count: 8),
            owner: word(at: 24, count: 8)
        )
        switch command {
        case .add, .hole, .addWithFlags, .get:
            let page = UInt64(ImageIndex.pageBytes)
            guard (1...pageLimit).contains(message.pageCount) else {
                throw refuse("\(message.pageCount) pages, where 1 to \(pageLimit) can be")
            }
            guard message.address % page == 0, message.address <= UInt64.max - message.pageCount * page else {
                throw refuse("pages at address \(message.address), where none can be")
            }
        case .open, .openAnswered, .parent, .close, .forceClose: break
        }
        return message
    }
}

/// What CRIU notes about pages (`PE_PARENT`, `PE_LAZY`, `PE_PRESENT`).
package struct PageFlags: OptionSet, Sendable, Hashable {
    package let rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }
    /// They are in an earlier dump.
    package static let parent = PageFlags(rawValue: 1)
    /// They can arrive after the process runs.
    package static let lazy = PageFlags(rawValue: 2)
    /// They are in the file of pages.
    package static let present = PageFlags(rawValue: 4)
}
