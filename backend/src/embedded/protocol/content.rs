//! A published message on its way in: method, header, then bodies until it is whole.

use super::nesting::header_is_bounded;
use crate::embedded::core::{Exception, Limits, Operation, Publication, ReplyCode};
use amq_protocol::frame::parsing::parse_content_header;
use bytes::{Bytes, BytesMut};

/// Below this a body is copied out of the read buffer: a small slice would keep the whole buffer in memory for as long
/// as the message waits in a queue.
const COPY_BYTES_MAX: usize = 16 << 10;

/// The content that one channel is sending.
#[derive(Debug)]
pub(super) enum Content {
    /// `basic.publish` came; the header is next.
    Header(Box<Publication>),
    /// Bodies are next, so many bytes.
    Body { publication: Box<Publication>, body: BytesMut, remaining: u64 },
    /// The message is refused; so many bytes are still on the way.
    Discard { remaining: u64 },
}

/// What a frame did to a content.
#[derive(Debug)]
pub(super) enum Progress {
    /// More frames belong to it.
    Incomplete(Content),
    /// It is whole; none if it was discarded.
    Complete(Option<Operation>),
    /// It is refused by the channel; the rest is discarded.
    Refused(Exception, Content),
}

impl Content {
    /// Bytes announced and not yet complete.
    pub(super) fn announced_bytes(&self) -> u64 {
        match self {
            Self::Header(_) | Self::Discard { .. } => 0,
            Self::Body { body, remaining, .. } => body.len() as u64 + remaining,
        }
    }

    /// Bytes held.
    pub(super) fn received_bytes(&self) -> u64 {
        match self {
            Self::Header(_) | Self::Discard { .. } => 0,
            Self::Body { body, .. } => body.len() as u64,
        }
    }

    /// Takes the content header.
    ///
    /// # Errors
    /// 505 where no header belongs or for another class, 502 if it cannot be parsed.
    pub(super) fn on_header(self, payload: &Bytes, limits: &Limits) -> Result<Progress, Exception> {
        let Self::Header(mut publication) = self else {
            return Err(Exception::new(ReplyCode::UnexpectedFrame, "expected content body, got a header"));
        };
        if !header_is_bounded(payload) {
            return Err(Exception::new(ReplyCode::SyntaxError, "headers nest too deep"));
        }
        let header = match parse_content_header(&payload[..]) {
            Ok(([], header)) => header,
            Ok(_) | Err(_) => {
                return Err(Exception::new(ReplyCode::SyntaxError, "content header cannot be parsed"));
            }
        };
        if header.class_id != 60 {
            let text = format!("expected content header for class 60, got one for class {}", header.class_id);
            return Err(Exception::new(ReplyCode::UnexpectedFrame, text));
        }
        let remaining = header.body_size;
        if remaining > limits.message_bytes_max {
            let text = format!(
                "message size {remaining} is larger than configured max size {}",
                limits.message_bytes_max
            );
            let exception = Exception::new(ReplyCode::PreconditionFailed, text).blamed_on((60, 40));
            return Ok(Progress::Refused(exception, Self::Discard { remaining }));
        }
        publication.properties = header.properties;
        if remaining == 0 {
            return Ok(Progress::Complete(Some(Operation::Publish(publication))));
        }
        Ok(Progress::Incomplete(Self::Body { publication, body: BytesMut::new(), remaining }))
    }

    /// Takes a body frame.
    ///
    /// # Errors
    /// 505 where no body belongs, 501 if it is longer than announced.
    pub(super) fn on_body(self, payload: Bytes) -> Result<Progress, Exception> {
        let length = payload.len() as u64;
        let beyond = || Err(Exception::new(ReplyCode::FrameError, "content body is longer than announced"));
        match self {
            Self::Header(_) => {
                Err(Exception::new(ReplyCode::UnexpectedFrame, "expected content header, got a body"))
            }
            Self::Discard { remaining } if length > remaining => beyond(),
            Self::Discard { remaining } if length == remaining => Ok(Progress::Complete(None)),
            Self::Discard { remaining } => {
                Ok(Progress::Incomplete(Self::Discard { remaining: remaining - length }))
            }
            Self::Body { remaining, .. } if length > remaining => beyond(),
            Self::Body { mut publication, body, remaining } if body.is_empty() && length == remaining => {
                publication.body =
                    if payload.len() < COPY_BYTES_MAX { Bytes::copy_from_slice(&payload) } else { payload };
                Ok(Progress::Complete(Some(Operation::Publish(publication))))
            }
            Self::Body { mut publication, mut body, remaining } => {
                // It grows with what arrives, never by what was announced.
                body.extend_from_slice(&payload);
                let remaining = remaining - length;
                if remaining > 0 {
                    return Ok(Progress::Incomplete(Self::Body { publication, body, remaining }));
                }
                publication.body = body.freeze();
                Ok(Progress::Complete(Some(Operation::Publish(publication))))
            }
        }
    }
}
