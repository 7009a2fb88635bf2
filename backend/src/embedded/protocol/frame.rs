//! Cutting a client's bytes into frames, within the agreed size.

use crate::embedded::core::{Exception, ReplyCode};
use bytes::{Buf, Bytes, BytesMut};

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameKind {
    Method,
    Header,
    Body,
    Heartbeat,
}

/// One frame with its payload as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: FrameKind,
    pub(super) channel: u16,
    pub(super) payload: Bytes,
}

/// Type, channel and size before the payload, and the end mark behind it.
pub(super) const FRAME_OVERHEAD_BYTES: usize = 8;
const HEAD_BYTES: usize = 7;
const END: u8 = 0xce;

/// Takes the next whole frame; none if more bytes are needed, and then `buffer` has room for them.
///
/// # Errors
/// 501 FRAME_ERROR for an unknown type, a frame above `frame_bytes_max`, or a wrong end mark.
pub(super) fn take_frame(buffer: &mut BytesMut, frame_bytes_max: u32) -> Result<Option<Frame>, Exception> {
    let Some(head) = buffer.first_chunk::<HEAD_BYTES>() else { return Ok(None) };
    let [kind, channel_high, channel_low, size @ ..] = *head;
    let size = u32::from_be_bytes(size);
    let channel = u16::from_be_bytes([channel_high, channel_low]);
    let kind = match kind {
        1 => FrameKind::Method,
        2 => FrameKind::Header,
        3 => FrameKind::Body,
        8 => FrameKind::Heartbeat,
        other => return Err(error(format!("type {other} is not a frame type"))),
    };
    let payload_bytes_max = frame_bytes_max.saturating_sub(FRAME_OVERHEAD_BYTES as u32);
    if size > payload_bytes_max {
        return Err(error(format!(
            "frame of {size} bytes is larger than the maximum of {payload_bytes_max}"
        )));
    }
    let whole = size as usize + FRAME_OVERHEAD_BYTES;
    if buffer.len() < whole {
        buffer.reserve(whole - buffer.len());
        return Ok(None);
    }
    let end = buffer[whole - 1];
    if end != END {
        return Err(error(format!("frame ends with {end:#04x} instead of 0xce")));
    }
    let mut payload = buffer.split_to(whole).freeze();
    payload.advance(HEAD_BYTES);
    payload.truncate(size as usize);
    Ok(Some(Frame { kind, channel, payload }))
}

fn error(text: String) -> Exception {
    Exception::new(ReplyCode::FrameError, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_cut_and_bad_ones_refused() {
        let whole = [1, 0, 7, 0, 0, 0, 2, b'h', b'i', 0xce, 8];
        for length in 0..10 {
            assert_eq!(take_frame(&mut BytesMut::from(&whole[..length]), 4096), Ok(None));
        }
        let mut buffer = BytesMut::from(&whole[..]);
        let frame = take_frame(&mut buffer, 4096).unwrap().unwrap();
        let expected = Frame { kind: FrameKind::Method, channel: 7, payload: Bytes::from_static(b"hi") };
        assert_eq!((frame, buffer.len()), (expected, 1));
        for bad in [
            &[7, 0, 0, 0, 0, 0, 0, 0xce][..],
            &[1, 0, 0, 0, 0, 0x10, 0, 0][..],
            &[1, 0, 0, 0xff, 0xff, 0xff, 0xff][..],
            &[1, 0, 0, 0, 0, 0, 0, 0xcd][..],
        ] {
            let exception = take_frame(&mut BytesMut::from(bad), 4096).unwrap_err();
            assert_eq!(exception.code, ReplyCode::FrameError, "{bad:?}");
        }
    }

    #[test]
    fn a_declared_length_reserves_no_more_than_a_frame() {
        let mut buffer = BytesMut::from(&[3, 0, 1, 0, 1, 0xff, 0xf8][..]);
        assert_eq!(take_frame(&mut buffer, 131_072), Ok(None));
        assert!(buffer.capacity() <= 2 * 131_072);
    }
}
