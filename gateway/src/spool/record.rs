//! What stands in the spool: events, and marks, as bytes and back.

use bytes::Bytes;
use roost_log::fields::{FieldError, Reader, Writer};
use roost_wire::{
    BootTime, Device, DeviceId, Event, Incarnation, Qos, Tenant, Topic, TraceContext, WallTime,
};

use crate::UplinkOrder;

const VERSION: u8 = 1;
const EVENT: u8 = 1;
const MARK: u8 = 2;

/// An event as it waits for the backend.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stored {
    pub(super) event: Event,
    pub(super) exchange: String,
    pub(super) order: UplinkOrder,
    /// On the clock of the run that stored it: of a calendar that is set meanwhile it knows nothing.
    pub(super) stored_at: BootTime,
}

/// Why bytes are not a record. Their checksum is right, so another build wrote them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SpoolRecordError {
    /// Of a kind or version that this build does not know.
    #[error("the record has version {version} and kind {kind}, which this build does not know")]
    Unknown {
        /// Its version.
        version: u8,
        /// Its kind.
        kind: u8,
    },
    /// A field is not good.
    #[error(transparent)]
    Field(#[from] FieldError),
}

impl Stored {
    pub(super) fn encode(&self) -> Vec<u8> {
        let Self { event, exchange, order, stored_at } = self;
        let mut w = Writer::new(VERSION, EVENT);
        w.text(exchange).int(match order {
            UplinkOrder::Strict => 0,
            UplinkOrder::Fresh => 1,
        });
        w.int(stored_at.as_micros());
        w.text(event.device.tenant.as_str()).text(event.device.id.as_str()).text(event.topic.as_str());
        w.int(u64::from(u8::from(event.qos)));
        w.int(u64::from(event.retain)).int(u64::from(event.dup)).int(u64::from(event.payload_is_utf8));
        w.text(event.gateway.as_str()).text(event.region.as_str());
        w.int(event.incarnation.0).int(event.sequence).int(event.received_at.as_millis());
        w.optional_text(event.content_type.as_deref()).optional_int(event.expiry_s.map(u64::from));
        w.optional_text(event.response_topic.as_deref());
        w.int(u64::from(event.correlation_data.is_some()));
        if let Some(data) = &event.correlation_data {
            w.blob(data);
        }
        w.int(event.user_properties.len() as u64);
        for (name, value) in &event.user_properties {
            w.text(name).text(value);
        }
        w.optional_text(event.trace.map(|trace| trace.to_string()).as_deref());
        w.blob(&event.payload);
        w.finish()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, SpoolRecordError> {
        let mut r = reader(bytes, EVENT)?;
        let exchange = r.text("exchange")?.to_owned();
        let order = if r.flag("order")? { UplinkOrder::Fresh } else { UplinkOrder::Strict };
        let stored_at = BootTime::from_micros(r.int("stored at")?);
        let device = Device::new(r.name::<Tenant>("tenant")?, r.name::<DeviceId>("device")?);
        let topic = r.name::<Topic>("topic")?;
        let qos = r.int("qos")?;
        let qos = u8::try_from(qos).ok().and_then(|qos| Qos::try_from(qos).ok());
        let qos = qos.ok_or(FieldError { field: "qos" })?;
        let (retain, dup, payload_is_utf8) = (r.flag("retain")?, r.flag("dup")?, r.flag("utf-8")?);
        let (gateway, region) = (r.name("gateway")?, r.name("region")?);
        let (incarnation, sequence) = (Incarnation(r.int("incarnation")?), r.int("sequence")?);
        let received_at = WallTime::from_millis(r.int("received at")?);
        let content_type = r.optional_text("content type")?.map(str::to_owned);
        let expiry_s = r.optional_int("expiry")?.map(u32::try_from).transpose();
        let response_topic = r.optional_text("response topic")?.map(str::to_owned);
        let has_data = r.flag("correlation data")?;
        let correlation_data = has_data.then(|| r.blob("correlation data")).transpose()?;
        let pairs = r.int("user properties")?;
        let mut user_properties = Vec::new();
        for _ in 0..pairs {
            let name = r.text("user properties")?.to_owned();
            user_properties.push((name, r.text("user properties")?.to_owned()));
        }
        let event = Event {
            device,
            topic,
            qos,
            retain,
            dup,
            gateway,
            region,
            incarnation,
            sequence,
            received_at,
            replayed: false,
            content_type,
            expiry_s: expiry_s.map_err(|_| FieldError { field: "expiry" })?,
            payload_is_utf8,
            response_topic,
            correlation_data,
            user_properties,
            trace: r.optional_name::<TraceContext>("trace")?,
            payload: r.blob("payload")?,
        };
        finished(&r)?;
        Ok(Self { event, exchange, order, stored_at })
    }
}

/// What is done of what stands behind a mark: ranges of numbers, in order.
pub(super) fn encode_mark(done: impl Iterator<Item = (u64, u64)>) -> Vec<u8> {
    let mut w = Writer::new(VERSION, MARK);
    for (first, last) in done {
        w.int(first).int(last);
    }
    w.finish()
}

/// The ranges of a mark.
pub(super) fn decode_mark(bytes: &Bytes) -> Result<Vec<(u64, u64)>, SpoolRecordError> {
    let mut r = reader(bytes, MARK)?;
    let mut pairs = Vec::new();
    while r.left() > 0 {
        let (first, last) = (r.int("first")?, r.int("last")?);
        if first > last {
            return Err(FieldError { field: "last" }.into());
        }
        pairs.push((first, last));
    }
    Ok(pairs)
}

fn reader(bytes: &[u8], wanted: u8) -> Result<Reader<'_>, SpoolRecordError> {
    let mut r = Reader::new(bytes);
    let (version, kind) = (r.byte("version")?, r.byte("kind")?);
    let is_known = (version, kind) == (VERSION, wanted);
    if is_known { Ok(r) } else { Err(SpoolRecordError::Unknown { version, kind }) }
}

fn finished(r: &Reader<'_>) -> Result<(), FieldError> {
    if r.left() == 0 { Ok(()) } else { Err(FieldError { field: "end" }) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stored(payload: Vec<u8>, pairs: Vec<(String, String)>, full: bool) -> Stored {
        let event = Event {
            device: "acme/pump 7".parse().unwrap(),
            topic: "state/temp".parse().unwrap(),
            payload: payload.into(),
            qos: Qos::AtLeastOnce,
            retain: full,
            dup: !full,
            gateway: "eu-1".parse().unwrap(),
            region: "eu".parse().unwrap(),
            incarnation: Incarnation(0xfeed),
            sequence: 300,
            received_at: WallTime::from_millis(1_700_000_000_123),
            replayed: false,
            content_type: full.then(|| "text/plain".to_owned()),
            expiry_s: full.then_some(60),
            payload_is_utf8: full,
            response_topic: full.then(|| "answers/here".to_owned()),
            correlation_data: full.then(|| Bytes::from_static(b"\xff\x00")),
            user_properties: pairs,
            trace: full.then(|| "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().unwrap()),
        };
        let order = if full { UplinkOrder::Fresh } else { UplinkOrder::Strict };
        Stored { event, exchange: "roost.up".to_owned(), order, stored_at: BootTime::from_micros(900) }
    }

    proptest! {
        #[test]
        fn an_event_reads_back_and_no_part_of_one_is_one(
            payload in any::<Vec<u8>>(),
            pairs in prop::collection::vec((any::<String>(), any::<String>()), 0..4),
            full in any::<bool>(),
            cut in any::<prop::sample::Index>(),
        ) {
            let stored = stored(payload, pairs, full);
            let bytes = stored.encode();
            prop_assert_eq!(Stored::decode(&bytes), Ok(stored));
            prop_assert!(Stored::decode(&bytes[..cut.index(bytes.len())]).is_err());
            let longer = [&bytes[..], b"x"].concat();
            prop_assert!(Stored::decode(&longer).is_err());
        }

        #[test]
        fn no_bytes_are_too_odd_to_be_refused(bytes in any::<Vec<u8>>()) {
            let _ = Stored::decode(&bytes);
            let _ = decode_mark(&bytes.into());
        }
    }

    #[test]
    fn a_mark_reads_back() {
        let pairs = vec![(3, 3), (7, 900)];
        let bytes = Bytes::from(encode_mark(pairs.iter().copied()));
        assert_eq!(decode_mark(&bytes), Ok(pairs));
        let event = Bytes::from(stored(Vec::new(), Vec::new(), true).encode());
        assert_eq!(decode_mark(&event), Err(SpoolRecordError::Unknown { version: 1, kind: 1 }));
    }
}
