//! Packet Identifiers and Subscription Identifiers: numbers that cannot be zero.

use std::fmt;
use std::num::{NonZeroU16, NonZeroU32};

/// A Packet Identifier. Never zero [MQTT-2.2.1-3].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PacketId(pub NonZeroU16);

impl PacketId {
    /// The identifier 1.
    pub const FIRST: Self = Self(NonZeroU16::MIN);

    /// `None` for zero.
    pub const fn new(value: u16) -> Option<Self> {
        match NonZeroU16::new(value) {
            Some(value) => Some(Self(value)),
            None => None,
        }
    }

    /// The number, 1 to 65,535.
    pub const fn value(self) -> u16 {
        self.0.get()
    }

    /// The identifier after this one; 1 follows 65,535.
    #[must_use]
    pub const fn next(self) -> Self {
        match self.0.checked_add(1) {
            Some(value) => Self(value),
            None => Self::FIRST,
        }
    }
}

impl fmt::Display for PacketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A Subscription Identifier of MQTT 5: 1 to [`SubscriptionId::MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionId(NonZeroU32);

impl SubscriptionId {
    /// The largest value, the largest variable byte integer.
    pub const MAX: u32 = 268_435_455;

    /// `None` for zero and above [`SubscriptionId::MAX`].
    pub const fn new(value: u32) -> Option<Self> {
        if value > Self::MAX {
            return None;
        }
        match NonZeroU32::new(value) {
            Some(value) => Some(Self(value)),
            None => None,
        }
    }

    /// The number.
    pub const fn value(self) -> u32 {
        self.0.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packet_ids_skip_zero_when_they_wrap() {
        assert_eq!(PacketId::new(0), None);
        assert_eq!(PacketId::FIRST.next().value(), 2);
        assert_eq!(PacketId::new(65_535).unwrap().next(), PacketId::FIRST);
    }

    #[test]
    fn subscription_ids_fit_a_variable_byte_integer() {
        assert_eq!(SubscriptionId::new(0), None);
        assert_eq!(SubscriptionId::new(268_435_456), None);
        assert_eq!(SubscriptionId::new(268_435_455).unwrap().value(), 268_435_455);
    }
}
