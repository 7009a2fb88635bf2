//! Where encoded fields go: into a buffer, or into a counter that tells beforehand how long they are.

use bytes::{BufMut, BytesMut};

use super::{Property, UserProperty};

/// Takes encoded bytes.
pub(super) trait Sink {
    fn put(&mut self, bytes: &[u8]);
}

impl Sink for BytesMut {
    fn put(&mut self, bytes: &[u8]) {
        self.put_slice(bytes);
    }
}

/// Counts bytes instead of keeping them.
#[derive(Default)]
pub(super) struct Length(pub(super) usize);

impl Sink for Length {
    fn put(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }
}

/// How many bytes `write` writes.
pub(super) fn length_of(write: &dyn Fn(&mut dyn Sink)) -> usize {
    let mut length = Length::default();
    write(&mut length);
    length.0
}

/// How many bytes a variable byte integer takes.
pub(super) const fn variable_integer_len(value: u32) -> usize {
    match value {
        0..=127 => 1,
        128..=16_383 => 2,
        16_384..=2_097_151 => 3,
        _ => 4,
    }
}

impl dyn Sink + '_ {
    pub(super) fn u8(&mut self, value: u8) {
        self.put(&[value]);
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.put(&value.to_be_bytes());
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.put(&value.to_be_bytes());
    }

    /// Up to 268,435,455; the caller has checked that.
    pub(super) fn variable_integer(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.u8(value as u8);
    }

    /// Length and bytes of a string or of binary data; at most 65,535 bytes by their types.
    pub(super) fn field(&mut self, bytes: &[u8]) {
        self.u16(u16::try_from(bytes.len()).expect("fields are bounded by their types or checked before"));
        self.put(bytes);
    }

    /// A property section: its length, then what `write` writes.
    pub(super) fn properties(&mut self, write: &dyn Fn(&mut dyn Sink)) {
        let len = u32::try_from(length_of(write)).unwrap_or(u32::MAX);
        self.variable_integer(len);
        if len > 0 {
            write(self);
        }
    }

    pub(super) fn bool_property(&mut self, property: Property, value: Option<bool>) {
        self.u8_property(property, value.map(u8::from));
    }

    pub(super) fn u8_property(&mut self, property: Property, value: Option<u8>) {
        if let Some(value) = value {
            self.put(&[property.id(), value]);
        }
    }

    pub(super) fn u16_property(&mut self, property: Property, value: Option<u16>) {
        if let Some(value) = value {
            self.u8(property.id());
            self.u16(value);
        }
    }

    pub(super) fn u32_property(&mut self, property: Property, value: Option<u32>) {
        if let Some(value) = value {
            self.u8(property.id());
            self.u32(value);
        }
    }

    pub(super) fn text_property(&mut self, property: Property, value: Option<&str>) {
        self.binary_property(property, value.map(str::as_bytes));
    }

    pub(super) fn binary_property(&mut self, property: Property, value: Option<&[u8]>) {
        if let Some(value) = value {
            self.u8(property.id());
            self.field(value);
        }
    }

    pub(super) fn user_properties(&mut self, user_properties: &[UserProperty]) {
        for user_property in user_properties {
            self.u8(Property::UserProperty.id());
            self.field(user_property.name.as_bytes());
            self.field(user_property.value.as_bytes());
        }
    }
}
