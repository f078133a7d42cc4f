import Glibc
import LinuxSystem
import Testing

@Suite struct SystemErrorTests {
    @Test func `says what was tried, on what, why not, and what to do`() {
        let error = SystemError("write 5 to", "/a/b", code: ENOSPC)
        #expect(
            error.description
                == "Cannot write 5 to /a/b: No space left on device (ENOSPC). "
                + "Free some space there or choose another folder in the configuration."
        )
        let own = SystemError("open", "/x", code: ENOENT, remedy: "Make it.")
        #expect(own.description == "Cannot open /x: No such file or directory (ENOENT). Make it.")
        #expect(own.isAbsent && !error.isAbsent)
    }

    @Test func `an unknown number is still a sentence`() {
        #expect(SystemError("try", "", code: 9999).description == "Cannot try: Unknown error 9999 (9999).")
    }
}
