//! Which trace a message belongs to: W3C Trace Context, its `traceparent`.
//!
//! `tracestate` is not carried: it is of use to the systems of one vendor only, every hop here makes a span of its own (who does may drop
//! it), and the journal would have to keep half a kilobyte for each command. Among the user properties of a message it travels as
//! it is.

mod ids;

use std::fmt;
use std::str::FromStr;

pub use ids::{SampleRatio, TraceIds};

/// 16 bytes that name a trace; never all zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId([u8; 16]);

/// 8 bytes that name a span of a trace; never all zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId([u8; 8]);

/// A place in a trace: which trace, which span of it, and whether that is recorded. Its text is a `traceparent` of version 00.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceContext {
    /// The trace.
    pub trace: TraceId,
    /// The span that what follows is a child of.
    pub span: SpanId,
    flags: u8,
}

/// A text that is no `traceparent`. The recommendation says to go on as if there were none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a traceparent of W3C Trace Context")]
pub struct TraceContextError;

/// The bit that says "recorded" (W3C Trace Context 3.2.2.5.1).
const SAMPLED: u8 = 0b01;

/// The bytes of a `traceparent` of version 00: `00-` trace `-` span `-` flags.
const TEXT_BYTES: usize = 55;

impl TraceId {
    /// `None` for 16 zeros, which name nothing.
    #[must_use]
    pub fn new(bytes: [u8; 16]) -> Option<Self> {
        (bytes != [0; 16]).then_some(Self(bytes))
    }

    /// Its bytes.
    #[must_use]
    pub const fn bytes(self) -> [u8; 16] {
        self.0
    }
}

impl SpanId {
    /// `None` for 8 zeros, which name nothing.
    #[must_use]
    pub fn new(bytes: [u8; 8]) -> Option<Self> {
        (bytes != [0; 8]).then_some(Self(bytes))
    }

    /// Its bytes.
    #[must_use]
    pub const fn bytes(self) -> [u8; 8] {
        self.0
    }
}

impl TraceContext {
    /// A place of our own making.
    #[must_use]
    pub const fn new(trace: TraceId, span: SpanId, is_sampled: bool) -> Self {
        Self { trace, span, flags: if is_sampled { SAMPLED } else { 0 } }
    }

    /// Reads a `traceparent`. One of a later version is read as far as version 00 goes, and becomes one of version 00 (W3C Trace Context
    /// 3.2.4).
    ///
    /// # Errors
    /// [`TraceContextError`] for anything else, in capitals too: it is to be ignored, and never sent on.
    pub fn parse(text: &str) -> Result<Self, TraceContextError> {
        Self::read(text.as_bytes()).ok_or(TraceContextError)
    }

    fn read(text: &[u8]) -> Option<Self> {
        let (known, rest) = text.split_at_checked(TEXT_BYTES)?;
        let dashes = [known[2], known[35], known[52]];
        let [version] = hex(&known[..2])?;
        let ends_well = match version {
            0 => rest.is_empty(),
            0xff => false,
            1..0xff => rest.is_empty() || rest[0] == b'-',
        };
        let [flags] = hex(&known[53..])?;
        let flags = if version == 0 { flags } else { flags & SAMPLED };
        (ends_well && dashes == *b"---").then_some(())?;
        Some(Self {
            trace: TraceId::new(hex(&known[3..35])?)?,
            span: SpanId::new(hex(&known[36..52])?)?,
            flags,
        })
    }

    /// Whether who came before records its spans: a child does as its parent.
    #[must_use]
    pub const fn is_sampled(self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The place of a child in the same trace, recorded if this one is.
    #[must_use]
    pub const fn child(self, span: SpanId) -> Self {
        Self::new(self.trace, span, self.is_sampled())
    }
}

impl FromStr for TraceContext {
    type Err = TraceContextError;
    fn from_str(text: &str) -> Result<Self, TraceContextError> {
        Self::parse(text)
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.trace, self.span, self.flags)
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

/// Exactly `N` bytes as small hexadecimal digits.
fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    if text.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    #[test]
    fn what_is_malformed_is_no_context() {
        let zeros = |n| "0".repeat(n);
        let wrong = [
            String::new(),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}-{SPAN}-1"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("00-{TRACE}-{SPAN}-01-"),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("01-{TRACE}-{SPAN}-01more"),
            format!("00-{}-{SPAN}-01", zeros(32)),
            format!("00-{TRACE}-{}-01", zeros(16)),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00_{TRACE}_{SPAN}_01"),
            format!("0x-{TRACE}-{SPAN}-01"),
            format!(" 00-{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}-{SPAN}-é"),
        ];
        for text in wrong {
            assert_eq!(TraceContext::parse(&text), Err(TraceContextError), "{text:?}");
        }
    }

    #[test]
    fn a_later_version_is_read_as_far_as_this_one_goes() {
        for text in [format!("01-{TRACE}-{SPAN}-03"), format!("cc-{TRACE}-{SPAN}-01-what-comes-later")] {
            let context = TraceContext::parse(&text).unwrap();
            assert_eq!(context.to_string(), format!("00-{TRACE}-{SPAN}-01"));
        }
    }

    #[test]
    fn a_child_is_of_the_same_trace_and_recorded_as_its_parent() {
        for flags in ["00", "01"] {
            let parent = TraceContext::parse(&format!("00-{TRACE}-{SPAN}-{flags}")).unwrap();
            let child = parent.child(SpanId::new([7; 8]).unwrap());
            assert_eq!(child.to_string(), format!("00-{TRACE}-0707070707070707-{flags}"));
        }
    }

    proptest! {
        #[test]
        fn a_context_reads_back(trace in any::<[u8; 16]>(), span in any::<[u8; 8]>(), flags in any::<u8>()) {
            prop_assume!(trace != [0; 16] && span != [0; 8]);
            let context = TraceContext { trace: TraceId(trace), span: SpanId(span), flags };
            prop_assert_eq!(TraceContext::parse(&context.to_string()), Ok(context));
        }

        #[test]
        fn any_text_is_read_without_a_panic_and_what_is_read_is_whole(text in "[0-9a-g-]{50,60}|\\PC*") {
            if let Ok(context) = TraceContext::parse(&text) {
                prop_assert_eq!(TraceContext::parse(&context.to_string()), Ok(context));
            }
        }
    }
}
