//! One record of the journal, and its bytes: a version, a kind, then the fields, integers as varints.

use std::sync::Arc;

use roost_log::fields::{FieldError, Reader, Writer};
use roost_wire::{
    CommandRequest, Device, DeviceId, GatewayId, Incarnation, MessageId, Offline, Qos, Receipt,
    ReceiptReason, ReceiptState, ReceiptsWanted, RouterRun, SyncNumber, Tenant, Topic, WallTime,
};

/// One thing that must survive.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// A run of the router began. Durable before it says anything to a gateway.
    RunStarted {
        /// Its number.
        run: RouterRun,
        /// The journal's own number, half of every command id.
        journal: u32,
    },
    /// Places up to here are used. Only in snapshots, where the commands that used them may be gone.
    Used {
        /// The next place is this.
        next: u64,
    },
    /// A command was taken into custody. Its place is its order.
    Accepted(Arc<Accepted>),
    /// It is about to be given to a gateway for which that was not written yet. Durable before it is published.
    Given {
        /// Which command.
        sequence: u64,
        /// To whom.
        to: GivenTo,
    },
    /// The gateway it was given to has said that the device does not have it.
    TakenBack {
        /// Which command.
        sequence: u64,
    },
    /// The gateway it was given to, or the device's connection there, was lost before an answer: the device may have it.
    Interrupted {
        /// Which command.
        sequence: u64,
    },
    /// How often it was tried so far: in snapshots, where the records that say so are gone, and where an answer that comes late says
    /// that the device may have it.
    Tried {
        /// Which command.
        sequence: u64,
        /// How often it was given to a gateway.
        attempts: u32,
        /// How often that was interrupted.
        interruptions: u32,
    },
    /// A command has ended, or a message was refused. The receipt it owes is part of it.
    Finished {
        /// How.
        end: Arc<Final>,
        /// Whether its receipt is not published yet.
        owed: bool,
    },
    /// The receipt of a final is published and confirmed.
    ReceiptPublished {
        /// Of which command.
        sequence: u64,
    },
    /// The device's answer to a command is with its sender, or nobody is there to have it. It has no other.
    Answered {
        /// Which command.
        sequence: u64,
        /// The id of the message that the answer came in.
        message: String,
    },
    /// A gateway's incarnation was seen for the first time: the ones before it are void. Durable before anything is
    /// forwarded to it.
    GatewaySeen {
        /// Which gateway.
        gateway: GatewayId,
        /// Which run of it.
        incarnation: Incarnation,
    },
    /// A gateway's sync was applied. Durable before a command carries that number, so that after a restart only a later
    /// sync counts: an earlier list may miss what was forwarded since.
    GatewaySynced {
        /// Which gateway.
        gateway: GatewayId,
        /// Which run of it.
        incarnation: Incarnation,
        /// The number.
        number: SyncNumber,
    },
    /// A gateway's lease has lapsed and nothing of it can come any more: the next start need not wait for it.
    GatewayLost {
        /// Which gateway.
        gateway: GatewayId,
    },
}

/// A command in custody.
#[derive(Debug, Clone, PartialEq)]
pub struct Accepted {
    /// Its place.
    pub sequence: u64,
    /// When it was taken.
    pub at: WallTime,
    /// When its lifetime ends.
    pub deadline: WallTime,
    /// The gateway it goes to as soon as it is durable, if that is clear already: this spares the fast path a second
    /// record.
    pub given_to: Option<GivenTo>,
    /// What the sender asked for.
    pub request: CommandRequest,
}

impl Accepted {
    /// What it holds of memory, as far as its sender decides on that: payload and texts.
    pub(super) fn bytes(&self) -> usize {
        self.request.payload.len() + header_bytes(&self.request)
    }
}

/// The length of a `traceparent`.
const TRACEPARENT_BYTES: usize = 55;

/// What a command's texts take together.
pub(crate) fn header_bytes(request: &CommandRequest) -> usize {
    let texts = [
        &request.receipt_to,
        &request.supersede_key,
        &request.reply_to,
        &request.correlation_id,
        &request.content_type,
    ];
    let texts: usize = texts.into_iter().flatten().map(String::len).sum();
    let trace = request.trace.map_or(0, |_| TRACEPARENT_BYTES);
    let pairs: usize = request.user_properties.iter().map(|(name, value)| name.len() + value.len() + 8).sum();
    request.topic.as_str().len() + texts + trace + pairs
}

/// A gateway's run that a command was given to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenTo {
    /// Which gateway.
    pub gateway: GatewayId,
    /// Which run of it.
    pub incarnation: Incarnation,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Final {
    /// The last receipt.
    pub receipt: Receipt,
    /// Which receipts the sender wanted: with `none` nothing is owed, also to a duplicate.
    pub wanted: ReceiptsWanted,
    /// The queue that gets it besides the exchange.
    pub receipt_to: Option<String>,
    /// When its message id may be forgotten.
    pub forget_at: WallTime,
    /// Who waits for the device's answer.
    pub reply: Option<Reply>,
}

/// Where the device's answer to a command goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The queue.
    pub to: String,
    /// What the sender knows it by.
    pub correlation_id: String,
}

impl Reply {
    /// What a command says of that. Without a correlation id its message id stands for one.
    #[must_use]
    pub fn of(request: &CommandRequest) -> Option<Self> {
        let to = request.reply_to.clone().filter(|queue| !queue.is_empty())?;
        let correlation_id = request.correlation_id.clone();
        let correlation_id = correlation_id.unwrap_or_else(|| request.message_id.as_str().to_owned());
        Some(Self { to, correlation_id })
    }
}

/// Why bytes are not a record. The log has checked them, so another build wrote them: the start fails and says so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Written by a later build.
    #[error("record has version {version}, this build reads {}", Record::VERSION)]
    Version {
        /// Which.
        version: u8,
    },
    /// A kind that this build does not know.
    #[error("record has the unknown kind {kind}")]
    Kind {
        /// Which.
        kind: u8,
    },
    /// A field ends early or holds a value that it can't.
    #[error("record's {field} is cut off or not valid")]
    Field {
        /// Which.
        field: &'static str,
    },
    /// Something stands behind the last field.
    #[error("record has {bytes} bytes too many")]
    Surplus {
        /// How many.
        bytes: usize,
    },
}

impl From<FieldError> for RecordError {
    fn from(FieldError { field }: FieldError) -> Self {
        Self::Field { field }
    }
}

impl Record {
    /// The version that this build writes, and the only one so far.
    pub const VERSION: u8 = 1;

    /// The record's bytes. At most [`crate::Limits::payload_bytes_max`], [`crate::Limits::header_bytes_max`] and 2 KiB.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new(Self::VERSION, self.kind());
        match self {
            Self::RunStarted { run, journal } => w.int(run.0).int(u64::from(*journal)),
            Self::Used { next } => w.int(*next),
            Self::Accepted(command) => write_accepted(&mut w, command),
            Self::Given { sequence, to } => {
                write_given_to(w.int(*sequence), to);
                &mut w
            }
            Self::Tried { sequence, attempts, interruptions } => {
                w.int(*sequence).int(u64::from(*attempts)).int(u64::from(*interruptions))
            }
            Self::TakenBack { sequence }
            | Self::Interrupted { sequence }
            | Self::ReceiptPublished { sequence } => w.int(*sequence),
            Self::Finished { end, owed } => {
                write_final(&mut w, end);
                w.int(u64::from(*owed));
                match &end.reply {
                    Some(reply) => w.text(&reply.to).text(&reply.correlation_id),
                    None => &mut w,
                }
            }
            Self::Answered { sequence, message } => w.int(*sequence).text(message),
            Self::GatewaySeen { gateway, incarnation } => w.text(gateway.as_str()).int(incarnation.0),
            Self::GatewaySynced { gateway, incarnation, number } => {
                w.text(gateway.as_str()).int(incarnation.0).int(number.0)
            }
            Self::GatewayLost { gateway } => w.text(gateway.as_str()),
        };
        w.finish()
    }

    /// Reads a record.
    ///
    /// # Errors
    /// [`RecordError`]; bytes that the log has checked are not a record only if another build wrote them.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let mut r = Reader::new(bytes);
        match r.byte("version")? {
            Self::VERSION => {}
            version => return Err(RecordError::Version { version }),
        }
        let record = match r.byte("kind")? {
            1 => Self::RunStarted { run: RouterRun(r.int("run")?), journal: read_count(&mut r, "journal")? },
            2 => Self::Used { next: r.int("next")? },
            3 => Self::Accepted(Arc::new(read_accepted(&mut r)?)),
            4 => Self::Given { sequence: r.int("sequence")?, to: read_given_to(&mut r)? },
            5 => Self::TakenBack { sequence: r.int("sequence")? },
            6 => Self::Interrupted { sequence: r.int("sequence")? },
            7 => Self::Finished { end: Arc::new(read_final(&mut r)?), owed: r.flag("owed")? },
            8 => Self::ReceiptPublished { sequence: r.int("sequence")? },
            9 => Self::GatewaySeen { gateway: r.name("gateway")?, incarnation: read_incarnation(&mut r)? },
            10 => Self::GatewaySynced {
                gateway: r.name("gateway")?,
                incarnation: read_incarnation(&mut r)?,
                number: SyncNumber(r.int("number")?),
            },
            11 => Self::GatewayLost { gateway: r.name("gateway")? },
            12 => Self::Answered { sequence: r.int("sequence")?, message: r.text("message")?.to_owned() },
            13 => {
                let (end, owed) = (read_final(&mut r)?, r.flag("owed")?);
                let (to, correlation_id) = (r.text("reply to")?.to_owned(), r.text("reply to")?.to_owned());
                let end = Final { reply: Some(Reply { to, correlation_id }), ..end };
                Self::Finished { end: Arc::new(end), owed }
            }
            14 => Self::Tried {
                sequence: r.int("sequence")?,
                attempts: read_count(&mut r, "attempts")?,
                interruptions: read_count(&mut r, "interruptions")?,
            },
            kind => return Err(RecordError::Kind { kind }),
        };
        match r.left() {
            0 => Ok(record),
            bytes => Err(RecordError::Surplus { bytes }),
        }
    }

    fn kind(&self) -> u8 {
        match self {
            Self::RunStarted { .. } => 1,
            Self::Used { .. } => 2,
            Self::Accepted(_) => 3,
            Self::Given { .. } => 4,
            Self::TakenBack { .. } => 5,
            Self::Interrupted { .. } => 6,
            // Of its own, so that what earlier builds wrote reads as ever.
            Self::Finished { end, .. } if end.reply.is_some() => 13,
            Self::Finished { .. } => 7,
            Self::ReceiptPublished { .. } => 8,
            Self::GatewaySeen { .. } => 9,
            Self::GatewaySynced { .. } => 10,
            Self::GatewayLost { .. } => 11,
            Self::Answered { .. } => 12,
            Self::Tried { .. } => 14,
        }
    }
}

impl Final {
    /// Whether anybody is to hear of it.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.wanted != ReceiptsWanted::None
    }

    /// Whether the device may have it and somebody waits for its answer.
    #[must_use]
    pub fn awaits_answer(&self) -> bool {
        let may_have_it = match self.receipt.state {
            ReceiptState::Delivered | ReceiptState::Sent | ReceiptState::Unknown => true,
            ReceiptState::Accepted
            | ReceiptState::Parked
            | ReceiptState::Forwarded
            | ReceiptState::Expired
            | ReceiptState::Rejected
            | ReceiptState::Superseded
            | ReceiptState::Unreachable => false,
        };
        may_have_it && self.reply.is_some()
    }
}

fn write_accepted<'w>(w: &'w mut Writer, command: &Accepted) -> &'w mut Writer {
    let Accepted { sequence, at, deadline, given_to, request } = command;
    w.int(*sequence).int(at.as_millis()).int(deadline.as_millis());
    w.int(u64::from(given_to.is_some()));
    if let Some(to) = given_to {
        write_given_to(w, to);
    }
    write_device(w, &request.device).text(request.message_id.as_str()).text(request.topic.as_str());
    w.blob(&request.payload).int(u64::from(u8::from(request.qos)));
    w.optional_int(request.lifetime_ms).text(request.receipts.as_str()).text(request.offline.as_str());
    let texts = [
        &request.receipt_to,
        &request.supersede_key,
        &request.reply_to,
        &request.correlation_id,
        &request.content_type,
    ];
    for text in texts {
        w.optional_text(text.as_deref());
    }
    w.optional_text(request.trace.map(|trace| trace.to_string()).as_deref());
    w.int(request.user_properties.len() as u64);
    for (name, value) in &request.user_properties {
        w.text(name).text(value);
    }
    w
}

fn read_accepted(r: &mut Reader<'_>) -> Result<Accepted, RecordError> {
    let sequence = r.int("sequence")?;
    let at = WallTime::from_millis(r.int("at")?);
    let deadline = WallTime::from_millis(r.int("deadline")?);
    let given_to = if r.flag("given to")? { Some(read_given_to(r)?) } else { None };
    let device = read_device(r)?;
    let message_id: MessageId = r.name("message id")?;
    let topic: Topic = r.name("topic")?;
    let payload = r.blob("payload")?;
    let mut request = CommandRequest::new(device, message_id, payload);
    request.topic = topic;
    request.qos = u8::try_from(r.int("qos")?)
        .ok()
        .and_then(|qos| Qos::try_from(qos).ok())
        .ok_or(RecordError::Field { field: "qos" })?;
    request.lifetime_ms = r.optional_int("lifetime")?;
    request.receipts = read_wanted(r)?;
    request.offline = Offline::parse(r.text("offline")?).ok_or(RecordError::Field { field: "offline" })?;
    let texts = [
        &mut request.receipt_to,
        &mut request.supersede_key,
        &mut request.reply_to,
        &mut request.correlation_id,
        &mut request.content_type,
    ];
    for text in texts {
        *text = r.optional_text("text")?.map(str::to_owned);
    }
    // Earlier builds wrote whatever text the sender had said: what is malformed counts as none.
    request.trace = r.optional_text("trace")?.and_then(|text| text.parse().ok());
    for _ in 0..r.int("user properties")? {
        let (name, value) = (r.text("user property")?, r.text("user property")?);
        request.user_properties.push((name.to_owned(), value.to_owned()));
    }
    Ok(Accepted { sequence, at, deadline, given_to, request })
}

fn write_final<'w>(w: &'w mut Writer, end: &Final) -> &'w mut Writer {
    let receipt = &end.receipt;
    w.int(u64::from(receipt.command_id.journal)).int(receipt.command_id.sequence);
    write_device(w, &receipt.device);
    w.optional_text(receipt.message_id.as_ref().map(MessageId::as_str)).text(receipt.state.as_str());
    w.int(receipt.reason.map_or(0, |reason| 1 + reason_number(reason)))
        .optional_text(receipt.detail.as_deref());
    w.int(u64::from(receipt.epoch.is_some()));
    if let Some(epoch) = receipt.epoch {
        w.int(epoch.run.0).int(epoch.counter);
    }
    w.optional_text(receipt.gateway.as_ref().map(GatewayId::as_str));
    w.optional_text(receipt.region.as_ref().map(roost_wire::Region::as_str));
    w.int(u64::from(receipt.attempt)).int(receipt.accepted_at.as_millis()).int(receipt.at.as_millis());
    w.text(end.wanted.as_str()).optional_text(end.receipt_to.as_deref()).int(end.forget_at.as_millis())
}

fn read_final(r: &mut Reader<'_>) -> Result<Final, RecordError> {
    let command_id =
        roost_wire::CommandId { journal: read_count(r, "journal")?, sequence: r.int("sequence")? };
    let device = read_device(r)?;
    let message_id = r.optional_name("message id")?;
    let state = r.text("state")?;
    let state = ReceiptState::ALL
        .into_iter()
        .find(|known| known.as_str() == state)
        .ok_or(RecordError::Field { field: "state" })?;
    let reason = match r.int("reason")? {
        0 => None,
        number => Some(read_reason(number - 1)?),
    };
    let detail = r.optional_text("detail")?.map(str::to_owned);
    let epoch = match r.flag("epoch")? {
        false => None,
        true => Some(roost_wire::Epoch { run: RouterRun(r.int("epoch")?), counter: r.int("epoch")? }),
    };
    let receipt = Receipt {
        version: Receipt::VERSION,
        state,
        device,
        message_id,
        command_id,
        epoch,
        gateway: r.optional_name("gateway")?,
        region: r.optional_name("region")?,
        attempt: read_count(r, "attempt")?,
        telling: None,
        reason,
        detail,
        accepted_at: WallTime::from_millis(r.int("accepted at")?),
        at: WallTime::from_millis(r.int("at")?),
        duplicate: false,
    };
    let wanted = read_wanted(r)?;
    let receipt_to = r.optional_text("receipt to")?.map(str::to_owned);
    let forget_at = WallTime::from_millis(r.int("forget at")?);
    Ok(Final { receipt, wanted, receipt_to, forget_at, reply: None })
}

fn write_device<'w>(w: &'w mut Writer, device: &Device) -> &'w mut Writer {
    w.text(device.tenant.as_str()).text(device.id.as_str())
}

fn read_device(r: &mut Reader<'_>) -> Result<Device, RecordError> {
    Ok(Device::new(r.name::<Tenant>("tenant")?, r.name::<DeviceId>("device")?))
}

fn write_given_to(w: &mut Writer, to: &GivenTo) {
    w.text(to.gateway.as_str()).int(to.incarnation.0);
}

fn read_given_to(r: &mut Reader<'_>) -> Result<GivenTo, RecordError> {
    Ok(GivenTo { gateway: r.name("gateway")?, incarnation: read_incarnation(r)? })
}

fn read_count(r: &mut Reader<'_>, field: &'static str) -> Result<u32, RecordError> {
    u32::try_from(r.int(field)?).map_err(|_| RecordError::Field { field })
}

fn read_incarnation(r: &mut Reader<'_>) -> Result<Incarnation, RecordError> {
    Ok(r.int("incarnation").map(Incarnation)?)
}

fn read_wanted(r: &mut Reader<'_>) -> Result<ReceiptsWanted, RecordError> {
    ReceiptsWanted::parse(r.text("receipts")?).ok_or(RecordError::Field { field: "receipts" })
}

/// The reasons in the order of their numbers on disk: new ones go to the end.
pub(super) const REASONS: [ReceiptReason; 16] = [
    ReceiptReason::DeviceAway,
    ReceiptReason::DeviceUnknown,
    ReceiptReason::NoSubscription,
    ReceiptReason::Asking,
    ReceiptReason::GatewayUnsure,
    ReceiptReason::Interrupted,
    ReceiptReason::Invalid,
    ReceiptReason::LifetimeTooLong,
    ReceiptReason::TooLarge,
    ReceiptReason::MailboxFull,
    ReceiptReason::RouterFull,
    ReceiptReason::DeviceRefused,
    ReceiptReason::PacketTooLarge,
    ReceiptReason::DeliveryLimit,
    ReceiptReason::ExpiredInQueue,
    ReceiptReason::TenantFull,
];

fn reason_number(reason: ReceiptReason) -> u64 {
    REASONS.iter().position(|known| *known == reason).expect("the list has every reason: a test counts")
        as u64
}

fn read_reason(number: u64) -> Result<ReceiptReason, RecordError> {
    let known = usize::try_from(number).ok().and_then(|number| REASONS.get(number));
    known.copied().ok_or(RecordError::Field { field: "reason" })
}
