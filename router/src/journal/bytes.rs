//! Fields as bytes: integers as varints (LEB128), text and blobs behind their length.

use bytes::Bytes;

use super::RecordError;

/// Puts fields behind each other.
pub(super) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub(super) fn new(version: u8, kind: u8) -> Self {
        Self { bytes: vec![version, kind] }
    }

    pub(super) fn int(&mut self, mut int: u64) -> &mut Self {
        while int >= 0x80 {
            self.bytes.push((int & 0x7f) as u8 | 0x80);
            int >>= 7;
        }
        self.bytes.push(int as u8);
        self
    }

    pub(super) fn blob(&mut self, blob: &[u8]) -> &mut Self {
        self.int(blob.len() as u64);
        self.bytes.extend_from_slice(blob);
        self
    }

    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.blob(text.as_bytes())
    }

    pub(super) fn optional_text(&mut self, text: Option<&str>) -> &mut Self {
        self.int(u64::from(text.is_some()));
        match text {
            Some(text) => self.text(text),
            None => self,
        }
    }

    pub(super) fn optional_int(&mut self, int: Option<u64>) -> &mut Self {
        self.int(u64::from(int.is_some()));
        match int {
            Some(int) => self.int(int),
            None => self,
        }
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// Takes fields from the front. Never reads, and never reserves, beyond what is there.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn byte(&mut self, field: &'static str) -> Result<u8, RecordError> {
        let (first, rest) = self.rest.split_first().ok_or(RecordError::Field { field })?;
        self.rest = rest;
        Ok(*first)
    }

    pub(super) fn int(&mut self, field: &'static str) -> Result<u64, RecordError> {
        let mut int = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte(field)?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(RecordError::Field { field });
            }
            int |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(int);
            }
        }
        Err(RecordError::Field { field })
    }

    pub(super) fn flag(&mut self, field: &'static str) -> Result<bool, RecordError> {
        match self.int(field)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(RecordError::Field { field }),
        }
    }

    pub(super) fn blob(&mut self, field: &'static str) -> Result<Bytes, RecordError> {
        self.slice(field).map(Bytes::copy_from_slice)
    }

    pub(super) fn text(&mut self, field: &'static str) -> Result<&'a str, RecordError> {
        std::str::from_utf8(self.slice(field)?).map_err(|_| RecordError::Field { field })
    }

    pub(super) fn name<T: std::str::FromStr>(&mut self, field: &'static str) -> Result<T, RecordError> {
        self.text(field)?.parse().map_err(|_| RecordError::Field { field })
    }

    pub(super) fn optional_text(&mut self, field: &'static str) -> Result<Option<&'a str>, RecordError> {
        if self.flag(field)? { self.text(field).map(Some) } else { Ok(None) }
    }

    pub(super) fn optional_name<T: std::str::FromStr>(
        &mut self,
        field: &'static str,
    ) -> Result<Option<T>, RecordError> {
        if self.flag(field)? { self.name(field).map(Some) } else { Ok(None) }
    }

    pub(super) fn optional_int(&mut self, field: &'static str) -> Result<Option<u64>, RecordError> {
        if self.flag(field)? { self.int(field).map(Some) } else { Ok(None) }
    }

    fn slice(&mut self, field: &'static str) -> Result<&'a [u8], RecordError> {
        let length = self.int(field)?;
        let length = usize::try_from(length).map_err(|_| RecordError::Field { field })?;
        let (slice, rest) = self.rest.split_at_checked(length).ok_or(RecordError::Field { field })?;
        self.rest = rest;
        Ok(slice)
    }
}
