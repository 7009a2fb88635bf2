//! Quality of service.

/// Quality of service, ordered from weak to strong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum QoS {
    /// 0: fire and forget.
    #[default]
    AtMostOnce = 0,
    /// 1: acknowledged by PUBACK.
    AtLeastOnce = 1,
    /// 2: the four step handshake.
    ExactlyOnce = 2,
}

impl QoS {
    /// The level of a number 0 to 2; `None` for others.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }

    /// The number, 0 to 2.
    pub const fn byte(self) -> u8 {
        self as u8
    }
}
