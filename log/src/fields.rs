//! Fields as bytes: integers as varints (LEB128), text and blobs behind their length.

use bytes::Bytes;

/// A field ends early or holds a value that it can't.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("record's {field} is cut off or not valid")]
pub struct FieldError {
    /// Which.
    pub field: &'static str,
}

/// Puts fields behind each other, after the record's version and kind.
#[derive(Debug)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// A record of that version and kind.
    pub fn new(version: u8, kind: u8) -> Self {
        Self { bytes: vec![version, kind] }
    }

    /// Puts an integer.
    pub fn int(&mut self, mut int: u64) -> &mut Self {
        while int >= 0x80 {
            self.bytes.push((int & 0x7f) as u8 | 0x80);
            int >>= 7;
        }
        self.bytes.push(int as u8);
        self
    }

    /// Puts bytes.
    pub fn blob(&mut self, blob: &[u8]) -> &mut Self {
        self.int(blob.len() as u64);
        self.bytes.extend_from_slice(blob);
        self
    }

    /// Puts text.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.blob(text.as_bytes())
    }

    /// Puts text, or that there is none.
    pub fn optional_text(&mut self, text: Option<&str>) -> &mut Self {
        self.int(u64::from(text.is_some()));
        match text {
            Some(text) => self.text(text),
            None => self,
        }
    }

    /// Puts an integer, or that there is none.
    pub fn optional_int(&mut self, int: Option<u64>) -> &mut Self {
        self.int(u64::from(int.is_some()));
        match int {
            Some(int) => self.int(int),
            None => self,
        }
    }

    /// The record.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// Takes fields from the front, in the order in which they were put. Never reads, and never reserves, beyond what is there.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads these bytes.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// How many bytes nobody has taken.
    #[must_use]
    pub fn left(&self) -> usize {
        self.rest.len()
    }

    /// Takes one byte.
    ///
    /// # Errors
    /// [`FieldError`] with the name of the field.
    pub fn byte(&mut self, field: &'static str) -> Result<u8, FieldError> {
        let (first, rest) = self.rest.split_first().ok_or(FieldError { field })?;
        self.rest = rest;
        Ok(*first)
    }

    /// Takes an integer.
    ///
    /// # Errors
    /// [`FieldError`] with the name of the field.
    pub fn int(&mut self, field: &'static str) -> Result<u64, FieldError> {
        let mut int = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte(field)?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(FieldError { field });
            }
            int |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(int);
            }
        }
        Err(FieldError { field })
    }

    /// Takes an integer that is 0 or 1.
    ///
    /// # Errors
    /// [`FieldError`] with the name of the field.
    pub fn flag(&mut self, field: &'static str) -> Result<bool, FieldError> {
        match self.int(field)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(FieldError { field }),
        }
    }

    /// Takes bytes.
    ///
    /// # Errors
    /// [`FieldError`] with the name of the field.
    pub fn blob(&mut self, field: &'static str) -> Result<Bytes, FieldError> {
        self.slice(field).map(Bytes::copy_from_slice)
    }

    /// Takes text.
    ///
    /// # Errors
    /// [`FieldError`] with the name of the field.
    pub fn text(&mut self, field: &'static str) -> Result<&'a str, FieldError> {
        std::str::from_utf8(self.slice(field)?).map_err(|_| FieldError { field })
    }

    /// Takes text and parses it.
    ///
    /// # Errors
    /// [`FieldError`] with the name of the field.
    pub fn name<T: std::str::FromStr>(&mut self, field: &'static str) -> Result<T, FieldError> {
        self.text(field)?.parse().map_err(|_| FieldError { field })
    }

    /// Takes text, or that there is none.
    ///
    /// # Errors
    /// [`FieldError`] with the name of the field.
    pub fn optional_text(&mut self, field: &'static str) -> Result<Option<&'a str>, FieldError> {
        if self.flag(field)? { self.text(field).map(Some) } else { Ok(None) }
    }

    /// Takes text and parses it, or that there is none.
    ///
    /// # Errors
    /// [`FieldError`] with the name of the field.
    pub fn optional_name<T: std::str::FromStr>(
        &mut self,
        field: &'static str,
    ) -> Result<Option<T>, FieldError> {
        if self.flag(field)? { self.name(field).map(Some) } else { Ok(None) }
    }

    /// Takes an integer, or that there is none.
    ///
    /// # Errors
    /// [`FieldError`] with the name of the field.
    pub fn optional_int(&mut self, field: &'static str) -> Result<Option<u64>, FieldError> {
        if self.flag(field)? { self.int(field).map(Some) } else { Ok(None) }
    }

    fn slice(&mut self, field: &'static str) -> Result<&'a [u8], FieldError> {
        let length = self.int(field)?;
        let length = usize::try_from(length).map_err(|_| FieldError { field })?;
        let (slice, rest) = self.rest.split_at_checked(length).ok_or(FieldError { field })?;
        self.rest = rest;
        Ok(slice)
    }
}
