import ClusterModel
import ClusterState
import Testing

struct ExitDiagnosisTests {
    private func sentence(_ exit: ContainerExit, memory: ByteCount? = nil) -> String {
        ExitDiagnosis(exit, specification: Bench.specification(), memoryLimit: memory).sentence
    }

    @Test func everyEndSaysWhatToDo() {
        #expect(
            sentence(.exited(code: 2))
                == "'work' ended with exit code 2; its own messages say why, see `godwit job logs`."
        )
        #expect(sentence(.exited(code: 127)).contains("command was not found; check `command` and the image's PATH"))
        #expect(sentence(.exited(code: 139)).contains("ended by SIGSEGV"))
        #expect(
            sentence(.signalled(number: 9, isOutOfMemory: true), memory: .mebibytes(512))
                == "The kernel ended it with SIGKILL because it needed more than its memory limit of 512 MiB. "
                + "Raise `resources.memory`, or make the program use less."
        )
        #expect(sentence(.signalled(number: 9, isOutOfMemory: true)).contains("the memory of the node"))
        #expect(sentence(.signalled(number: 11, isOutOfMemory: false)).contains("SIGSEGV"))
        #expect(sentence(.signalled(number: 37, isOutOfMemory: false)).contains("SIGRTMIN+3"))
        #expect(sentence(.notStarted(reason: "no image.")) == "It could not be started: no image.")
        #expect(sentence(.fenced).contains("out of touch with the cluster"))
        #expect(sentence(.lost).contains("without a trace"))
    }

    @Test func everySentenceEndsWithAFullStop() {
        let exits: [ContainerExit] =
            (0...255).map { .exited(code: $0) } + (1...70).map { .signalled(number: $0, isOutOfMemory: $0 % 2 == 0) }
            + [.fenced, .lost, .notStarted(reason: ""), .notStarted(reason: "x")]
        for exit in exits { #expect(sentence(exit).hasSuffix("."), "\(exit)") }
    }

    @Test func onlyAKillFromOutsideIsALoss() {
        #expect(ExitDiagnosis.isLoss(.fenced))
        #expect(ExitDiagnosis.isLoss(.lost))
        #expect(ExitDiagnosis.isLoss(.signalled(number: 9, isOutOfMemory: false)))
        #expect(!ExitDiagnosis.isLoss(.signalled(number: 9, isOutOfMemory: true)))
        #expect(!ExitDiagnosis.isLoss(.signalled(number: 15, isOutOfMemory: false)))
        #expect(!ExitDiagnosis.isLoss(.exited(code: 137)))
    }

    @Test func delaysDoubleUpToTheirMaximum() {
        let delays = (0...6).map { Backoff.delay(attempt: $0, first: .seconds(3), maximum: .seconds(20)) }
        #expect(delays == [.zero, .seconds(3), .seconds(6), .seconds(12), .seconds(20), .seconds(20), .seconds(20)])
        #expect(Backoff.delay(attempt: .max, first: .seconds(1), maximum: .seconds(300)) == .seconds(300))
        #expect(Backoff.delay(attempt: 3, first: .zero, maximum: .seconds(300)) == .zero)
    }
}
