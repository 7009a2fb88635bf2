//! What the router may use, and how long it waits.

use std::time::Duration;

/// Every bound of the core, with what happens when it is reached.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// For how long after it *sent* an answered heartbeat a gateway may deliver commands. The same as the gateways': 10 s
    /// is three heartbeats of 3 s and a second to spare.
    pub lease: Duration,
    /// How much longer the router waits, for clocks that run at different speeds and work that is under way: 2 s.
    pub lease_margin: Duration,
    /// How long the router waits for an answer to a command before it asks for a sync: the gateways' settle timeout (30 s),
    /// and 5 s for the way.
    pub settle_timeout: Duration,
    /// Commands of one device that may be at its gateway at once: 16 keep a long path busy. More wait in the mailbox.
    pub outstanding_per_device_max: usize,
    /// Commands that may wait for one device: 100. More are rejected: `mailbox_full`.
    pub mailbox_commands_max: usize,
    /// Bytes of payload that may wait for one device: 1 MiB. More are rejected: `mailbox_full`.
    pub mailbox_bytes_max: usize,
    /// Commands in custody, those among them that have ended and whose receipt is not confirmed: 200,000. Then the shard queue is
    /// not consumed until a tenth is gone, and HTTP commands are not taken.
    pub commands_max: usize,
    /// Bytes in custody, payloads and headers: 512 MiB. As `commands_max`.
    pub bytes_max: usize,
    /// Commands in custody for one tenant's devices: 150,000, so that a quarter is left to the others. More are rejected:
    /// `tenant_full`.
    pub tenant_commands_max: usize,
    /// Bytes in custody for one tenant's devices, payloads and headers: 384 MiB. As `tenant_commands_max`.
    pub tenant_bytes_max: usize,
    /// The prefetch of the shard queue: 500. So many commands may still come after a pause; beyond they are rejected:
    /// `router_full`.
    pub prefetch: usize,
    /// The lifetime of a command that asks for none: 24 h.
    pub lifetime: Duration,
    /// The longest lifetime: 7 days. More is rejected: `lifetime_too_long`.
    pub lifetime_max: Duration,
    /// The longest payload: 240 KiB, so that with topic and properties it fits a packet of 256 KiB. More is rejected:
    /// `too_large`.
    pub payload_bytes_max: usize,
    /// What topic, user properties and the other headers may take together: 64 KiB. More is rejected: `too_large`.
    pub header_bytes_max: usize,
    /// How often a command may reach its device, or be with a gateway that is lost, without an answer: 10. Then it is rejected:
    /// `delivery_limit`.
    pub unanswered_max: u32,
    /// For how long after its lifetime a command's message id is remembered: 1 h.
    pub remembered: Duration,
    /// Finals remembered: 1,000,000. Then the oldest is forgotten early and counted; those whose receipt is still owed
    /// never are.
    pub finals_max: usize,
    /// Finals remembered for one device: 2,000, four times the prefetch. Then its oldest is forgotten early and counted.
    pub finals_per_device_max: usize,
    /// HTTP requests that hear of one command's changes: 16. Further ones get one answer only.
    pub watchers_max: usize,
    /// Devices in the location table: 1,000,000. Then the device that has been away longest becomes unknown; if none is
    /// away, the one that was learnt longest ago. Counted; a command for it is a question.
    pub locations_max: usize,
    /// Gateways: 1,024. Then the one that was lost first is forgotten; if none is lost, a new one is not answered, and
    /// counted.
    pub gateways_max: usize,
    /// Voided incarnations remembered for each gateway: 16. Then the oldest is forgotten.
    pub voided_max: usize,
    /// Questions open at once: 1,000. Further devices wait for their turn.
    pub questions_max: usize,
    /// For how long "no gateway holds it" is remembered: 10 s, so that a stream of commands for an absent device is not a
    /// stream of questions.
    pub absent_remembered: Duration,
    /// How soon a question that is not answered is asked again: 10 s.
    pub question_repeat: Duration,
    /// Devices that two gateways claim and for which these are being asked at once: 10,000, a tenth of a large gateway's devices
    /// moving within one round trip. Beyond: the last acceptance to arrive counts, counted, and its rival is closed.
    pub contests_max: usize,
    /// For how long a session that a gateway has asked for is expected: 30 s. Gateways do not let a device wait for so long, but they
    /// keep the session of one that has left. Then: dropped when it comes, counted.
    pub session_transfer: Duration,
    /// Sessions asked for at once: 10,000, a tenth of a large gateway's devices. Beyond: the answer is at once that none comes.
    pub transfers_max: usize,
    /// Presence that the broker has not confirmed: 100,000, a reconnect storm of a large gateway. More is dropped and counted:
    /// the location is right all the same, and whoever listens compares sessions.
    pub presences_max: usize,
    /// Items of a sync or snapshot gathered from one gateway before its last part came: 200,000. Then the list is dropped,
    /// counted, and asked for again.
    pub list_max: usize,
    /// Commands whose steps are remembered, for [`crate::RouterCore::why`]: 10,000, some 15 MB. Then the one that was taken first
    /// is forgotten. 0 remembers none.
    pub timelines_max: usize,
    /// By what a gateway's reports are believed.
    pub gateway_users: GatewayUsers,
}

/// Which AMQP user must have published a gateway's report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum GatewayUsers {
    /// Any: all gateways share one user.
    #[default]
    Any,
    /// The one that is named like the gateway. The broker vouches for `user_id`.
    NamedLikeGateway,
}

impl Default for Limits {
    fn default() -> Self {
        let hour = Duration::from_secs(3_600);
        Self {
            lease: Duration::from_secs(10),
            lease_margin: Duration::from_secs(2),
            settle_timeout: Duration::from_secs(35),
            outstanding_per_device_max: 16,
            mailbox_commands_max: 100,
            mailbox_bytes_max: 1024 * 1024,
            commands_max: 200_000,
            bytes_max: 512 * 1024 * 1024,
            tenant_commands_max: 150_000,
            tenant_bytes_max: 384 * 1024 * 1024,
            prefetch: 500,
            lifetime: hour * 24,
            lifetime_max: hour * 24 * 7,
            payload_bytes_max: 240 * 1024,
            header_bytes_max: 64 * 1024,
            unanswered_max: 10,
            remembered: hour,
            finals_max: 1_000_000,
            finals_per_device_max: 2_000,
            watchers_max: 16,
            locations_max: 1_000_000,
            gateways_max: 1_024,
            voided_max: 16,
            questions_max: 1_000,
            contests_max: 10_000,
            absent_remembered: Duration::from_secs(10),
            question_repeat: Duration::from_secs(10),
            session_transfer: Duration::from_secs(30),
            transfers_max: 10_000,
            presences_max: 100_000,
            list_max: 200_000,
            timelines_max: 10_000,
            gateway_users: GatewayUsers::default(),
        }
    }
}

impl Limits {
    /// When a gateway that was last answered then has certainly stopped delivering.
    pub(crate) fn lapse(&self) -> Duration {
        self.lease + self.lease_margin
    }
}
