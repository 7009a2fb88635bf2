//! What each message carries so that it can be told from every other.
//!
//! The first [`Stamp::BYTES`] bytes of a payload, integers big-endian; what follows is filling:
//!
//! | bytes | what |
//! |---|---|
//! | 0..4 | `RFe1` an event of a device, `RFc1` a command to one, `RFa1` its answer, with the number and the time of the command |
//! | 4..8 | the run, a number drawn when the fleet starts |
//! | 8..12 | the device's index |
//! | 12..16 | the serial number, from 0, per device and kind |
//! | 16..24 | when it was *meant* to be sent: microseconds of this machine's boot-time clock |
//!
//! The time is the intended one, not that of the write: a message that had to wait for a slow broker was late from then on.
//! That is what keeps a stall from hiding all the messages that it held up ("coordinated omission").

use bytes::{BufMut, Bytes, BytesMut};
use roost_wire::BootTime;

/// The identity of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Which way it goes.
    pub kind: Kind,
    /// The run it belongs to; others are not ours.
    pub run: u32,
    /// The device that sent it, or is to get it.
    pub device: u32,
    /// Counted from 0 per device and kind.
    pub sequence: u32,
    /// When it was meant to be sent.
    pub intended: BootTime,
}

/// Which way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Published by a device.
    Event,
    /// Sent to a device.
    Command,
    /// Published by a device that got a command.
    Answer,
}

impl Kind {
    const fn magic(self) -> &'static [u8; 4] {
        match self {
            Self::Event => b"RFe1",
            Self::Command => b"RFc1",
            Self::Answer => b"RFa1",
        }
    }
}

impl Stamp {
    /// The least payload.
    pub const BYTES: usize = 24;

    /// The payload of `size` bytes, of at least [`Stamp::BYTES`].
    #[must_use]
    pub fn payload(&self, size: usize) -> Bytes {
        let mut out = BytesMut::with_capacity(size.max(Self::BYTES));
        out.put_slice(self.kind.magic());
        out.put_u32(self.run);
        out.put_u32(self.device);
        out.put_u32(self.sequence);
        out.put_u64(self.intended.as_micros());
        out.resize(size.max(Self::BYTES), b'.');
        out.freeze()
    }

    /// Reads a payload back; `None` if it is nobody's or another run's.
    #[must_use]
    pub fn read(payload: &[u8], run: u32) -> Option<Self> {
        let number = |at: usize| payload.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes);
        let kind = [Kind::Event, Kind::Command, Kind::Answer]
            .into_iter()
            .find(|kind| payload.starts_with(kind.magic()))?;
        let intended = u64::from_be_bytes(payload.get(16..24)?.try_into().ok()?);
        let intended = BootTime::from_micros(intended);
        let stamp = Self { kind, run: number(4)?, device: number(8)?, sequence: number(12)?, intended };
        (stamp.run == run).then_some(stamp)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_stamp_reads_back(
            kind in 0_usize..3, run: u32, device: u32, sequence: u32, at: u64, size in 0_usize..500,
        ) {
            let kind = [Kind::Event, Kind::Command, Kind::Answer][kind];
            let stamp = Stamp { kind, run, device, sequence, intended: BootTime::from_micros(at) };
            let payload = stamp.payload(size);
            prop_assert_eq!(payload.len(), size.max(Stamp::BYTES));
            prop_assert_eq!(Stamp::read(&payload, run), Some(stamp));
            prop_assert_eq!(Stamp::read(&payload, run.wrapping_add(1)), None);
            prop_assert_eq!(Stamp::read(&payload[..Stamp::BYTES - 1], run), None);
        }

        #[test]
        fn no_payload_is_too_strange(payload: Vec<u8>) {
            prop_assert_eq!(Stamp::read(&payload, 1), None);
        }
    }
}
