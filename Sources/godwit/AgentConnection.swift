import ControlMessages

/// The agent's side of a command: one method for each method of proto/control.proto.
///
/// Refusals and failures of the connection are thrown as `CommandFailure`.
protocol AgentConnection: Sendable {
    func status(_ request: WireStatusRequest) async throws -> WireStatusReply
    func nodeList(_ request: WireNodeListRequest) async throws -> WireNodeListReply
    func nodeShow(_ request: WireNodeShowRequest) async throws -> WireNodeShowReply
    func nodeCordon(_ request: WireNodeCordonRequest) async throws -> WireNodeCordonReply
    func nodeDrain(_ request: WireNodeDrainRequest) async throws -> WireNodeDrainReply
    func nodeUndrain(_ request: WireNodeUndrainRequest) async throws -> WireNodeUndrainReply
    func nodeRemove(_ request: WireNodeRemoveRequest) async throws -> WireNodeRemoveReply
    func nodeLeave(_ request: WireNodeLeaveRequest) async throws -> WireNodeLeaveReply
    func clusterMembers(_ request: WireClusterMembersRequest) async throws -> WireClusterMembersReply
    func clusterVoters(_ request: WireClusterVotersRequest) async throws -> WireClusterVotersReply
    func keyringList(_ request: WireKeyringListRequest) async throws -> WireKeyringListReply
    func keyringRotate(_ request: WireKeyringRotateRequest) async throws -> WireKeyringRotateReply
    func certificateRevoke(_ request: WireCertificateRevokeRequest) async throws -> WireCertificateRevokeReply
    func revocationList(_ request: WireRevocationListRequest) async throws -> WireRevocationListReply
    func authorityAdd(_ request: WireAuthorityAddRequest) async throws -> WireAuthorityAddReply
    func authorityRemove(_ request: WireAuthorityRemoveRequest) async throws -> WireAuthorityRemoveReply
    func authorityList(_ request: WireAuthorityListRequest) async throws -> WireAuthorityListReply
    /// Hands over each message until there are no more.
    func clusterEvents(
        _ request: WireClusterEventsRequest,
        receive: (WireClusterEventsReply) throws -> Void
    ) async throws
    func jobSubmit(_ request: WireJobSubmitRequest) async throws -> WireJobSubmitReply
    func jobPlan(_ request: WireJobPlanRequest) async throws -> WireJobPlanReply
    func jobList(_ request: WireJobListRequest) async throws -> WireJobListReply
    func jobShow(_ request: WireJobShowRequest) async throws -> WireJobShowReply
    func jobExplain(_ request: WireJobExplainRequest) async throws -> WireJobExplainReply
    func jobCheckpoint(_ request: WireJobCheckpointRequest) async throws -> WireJobCheckpointReply
    func jobRestore(_ request: WireJobRestoreRequest) async throws -> WireJobRestoreReply
    func jobResize(_ request: WireJobResizeRequest) async throws -> WireJobResizeReply
    func jobMigrate(_ request: WireJobMigrateRequest) async throws -> WireJobMigrateReply
    func jobCancel(_ request: WireJobCancelRequest) async throws -> WireJobCancelReply
    /// Hands over each message until there are no more or `receive` returns false.
    func jobWatch(_ request: WireJobWatchRequest, receive: (WireJobWatchReply) throws -> Bool) async throws
    /// Hands over each message until there are no more.
    func jobLogs(_ request: WireJobLogsRequest, receive: (WireJobLogsReply) throws -> Void) async throws
    func checkpointList(_ request: WireCheckpointListRequest) async throws -> WireCheckpointListReply
    func checkpointShow(_ request: WireCheckpointShowRequest) async throws -> WireCheckpointShowReply
    /// Hands over each message until there are no more.
    func checkpointVerify(
        _ request: WireCheckpointVerifyRequest,
        receive: (WireCheckpointVerifyReply) throws -> Void
    ) async throws
    /// Hands over each message until there are no more.
    func checkpointExport(
        _ request: WireCheckpointExportRequest,
        receive: (WireCheckpointExportReply) throws -> Void
    ) async throws
    /// Sends one piece of a tar.
    func checkpointImport(_ request: WireCheckpointImportRequest) async throws -> WireCheckpointImportReply
    func checkpointRemove(_ request: WireCheckpointRemoveRequest) async throws -> WireCheckpointRemoveReply
    /// Ends the connection; nothing may be asked after it.
    func close() async
}
