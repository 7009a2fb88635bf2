//! The text of one topic level, without an allocation when it is short.

const INLINE_BYTES_MAX: usize = 22;

/// One level's text in 24 bytes; longer ones own an allocation.
#[derive(Debug)]
pub(super) enum Label {
    Inline { len: u8, bytes: [u8; INLINE_BYTES_MAX] },
    Heap(Box<str>),
}

impl Label {
    pub(super) fn new(text: &str) -> Self {
        let Some(len) = u8::try_from(text.len()).ok().filter(|&len| usize::from(len) <= INLINE_BYTES_MAX)
        else {
            return Self::Heap(text.into());
        };
        let mut bytes = [0; INLINE_BYTES_MAX];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Self::Inline { len, bytes }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Self::Heap(text) => text.as_bytes(),
        }
    }

    pub(super) fn text(&self) -> &str {
        match self {
            Self::Inline { .. } => std::str::from_utf8(self.bytes()).expect("copied from a str whole"),
            Self::Heap(text) => text,
        }
    }

    /// What it owns outside of itself, with 16 bytes for the allocator.
    pub(super) fn allocated_bytes(&self) -> usize {
        match self {
            Self::Inline { .. } => 0,
            Self::Heap(text) => text.len() + 16,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_any_length_keep_their_text() {
        assert_eq!(size_of::<Label>(), 24);
        for len in [0, 1, 21, 22, 23, 300] {
            let text = "x".repeat(len);
            let label = Label::new(&text);
            assert_eq!((label.text(), label.bytes()), (text.as_str(), text.as_bytes()));
            assert_eq!(label.allocated_bytes() > 0, len > 22);
        }
        assert_eq!(Label::new("grün").text(), "grün");
    }
}
