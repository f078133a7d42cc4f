import Glibc
import LinuxSystem
import Testing

@Suite struct OwnedDescriptorTests {
    @Test func `is closed when its owner goes`() throws {
        let reading = try OwnedDescriptor.pipe().take { reading, writing in
            try writing.write(Array("end".utf8))
            return OwnedDescriptor(owning: reading.release())
        }
        // The end of the stream comes only when nobody can write any more.
        let first = try reading.read(upTo: 10)
        #expect(first == Array("end".utf8))
        let second = try reading.read(upTo: 10)
        #expect(second.isEmpty)
    }

    @Test func `a copy keeps the file open`() throws {
        let ends = try OwnedDescriptor.pipe()
        let copy = try ends.writing.duplicate()
        let (number, original) = (copy.rawValue, ends.writing.rawValue)
        #expect(number != original)
        try copy.write([1])
        let bytes = try ends.reading.read(upTo: 2)
        #expect(bytes == [1])
    }

    @Test func `non-blocking reads say that nothing is there`() throws {
        let ends = try OwnedDescriptor.pipe()
        try ends.reading.setBlocking(false)
        #expect(throws: SystemError("read", "", code: EAGAIN)) { try ends.reading.read(upTo: 1) }
    }

    @Test func `every descriptor is closed on exec`() throws {
        let file = try OwnedDescriptor(opening: "/dev/null", O_RDONLY)
        let copy = try file.duplicate()
        let ends = try OwnedDescriptor.pipe()
        for descriptor in [file.rawValue, copy.rawValue, ends.reading.rawValue, ends.writing.rawValue] {
            #expect(fcntl(descriptor, F_GETFD) == FD_CLOEXEC)
        }
    }
}
