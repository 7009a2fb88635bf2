//! AMQP exceptions: what closes a channel, and what closes a connection.

use std::fmt;

/// A reply code of AMQP 0-9-1 that the broker raises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReplyCode {
    /// 320: an operator or the broker itself ends the connection.
    ConnectionForced,
    /// 402: the virtual host is not known.
    InvalidPath,
    /// 403: reserved names, exclusive consumers, refused logins.
    AccessRefused,
    /// 404: no such exchange or queue.
    NotFound,
    /// 405: the queue belongs to another connection.
    ResourceLocked,
    /// 406: an inequivalent declaration, an unknown delivery tag, a bound that is reached.
    PreconditionFailed,
    /// 501: the bytes are not a frame.
    FrameError,
    /// 502: the frame's content cannot be parsed.
    SyntaxError,
    /// 503: the method is not valid here, or a value is not known.
    CommandInvalid,
    /// 504: the channel is not open, or is open already.
    ChannelError,
    /// 505: a frame that does not belong here, such as a body without a header.
    UnexpectedFrame,
    /// 506: the connection asks for more than it may have.
    ResourceError,
    /// 530: not allowed.
    NotAllowed,
    /// 540: this broker does not have it.
    NotImplemented,
    /// 541: the broker cannot go on.
    InternalError,
}

impl ReplyCode {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::ConnectionForced,
        Self::InvalidPath,
        Self::AccessRefused,
        Self::NotFound,
        Self::ResourceLocked,
        Self::PreconditionFailed,
        Self::FrameError,
        Self::SyntaxError,
        Self::CommandInvalid,
        Self::ChannelError,
        Self::UnexpectedFrame,
        Self::ResourceError,
        Self::NotAllowed,
        Self::NotImplemented,
        Self::InternalError,
    ];

    /// The number on the wire.
    pub fn number(self) -> u16 {
        match self {
            Self::ConnectionForced => 320,
            Self::InvalidPath => 402,
            Self::AccessRefused => 403,
            Self::NotFound => 404,
            Self::ResourceLocked => 405,
            Self::PreconditionFailed => 406,
            Self::FrameError => 501,
            Self::SyntaxError => 502,
            Self::CommandInvalid => 503,
            Self::ChannelError => 504,
            Self::UnexpectedFrame => 505,
            Self::ResourceError => 506,
            Self::NotAllowed => 530,
            Self::NotImplemented => 540,
            Self::InternalError => 541,
        }
    }

    /// The name that stands before the text, as RabbitMQ writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ConnectionForced => "CONNECTION_FORCED",
            Self::InvalidPath => "INVALID_PATH",
            Self::AccessRefused => "ACCESS_REFUSED",
            Self::NotFound => "NOT_FOUND",
            Self::ResourceLocked => "RESOURCE_LOCKED",
            Self::PreconditionFailed => "PRECONDITION_FAILED",
            Self::FrameError => "FRAME_ERROR",
            Self::SyntaxError => "SYNTAX_ERROR",
            Self::CommandInvalid => "COMMAND_INVALID",
            Self::ChannelError => "CHANNEL_ERROR",
            Self::UnexpectedFrame => "UNEXPECTED_FRAME",
            Self::ResourceError => "RESOURCE_ERROR",
            Self::NotAllowed => "NOT_ALLOWED",
            Self::NotImplemented => "NOT_IMPLEMENTED",
            Self::InternalError => "INTERNAL_ERROR",
        }
    }

    /// Whether it closes the whole connection; the others close the channel only.
    pub fn closes_connection(self) -> bool {
        match self {
            Self::AccessRefused | Self::NotFound | Self::ResourceLocked | Self::PreconditionFailed => false,
            Self::ConnectionForced
            | Self::InvalidPath
            | Self::FrameError
            | Self::SyntaxError
            | Self::CommandInvalid
            | Self::ChannelError
            | Self::UnexpectedFrame
            | Self::ResourceError
            | Self::NotAllowed
            | Self::NotImplemented
            | Self::InternalError => true,
        }
    }
}

/// An exception with its text and the method that caused it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exception {
    /// The reply code.
    pub code: ReplyCode,
    /// What went wrong, with the value at fault; without the code's name.
    pub text: String,
    /// Class and method of the cause; zeros when no method caused it.
    pub method: (u16, u16),
}

impl Exception {
    /// An exception that no method is blamed for yet.
    pub fn new(code: ReplyCode, text: impl Into<String>) -> Self {
        Self { code, text: text.into(), method: (0, 0) }
    }

    /// The same, blamed on a method.
    pub fn blamed_on(self, method: (u16, u16)) -> Self {
        Self { method, ..self }
    }

    /// The reply text on the wire: code name and text, cut to 255 bytes at a character's end.
    pub fn reply_text(&self) -> String {
        let mut text = self.to_string();
        let mut end = text.len().min(255);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text
    }
}

impl fmt::Display for Exception {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} - {}", self.code.name(), self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_reply_text_is_cut_at_a_character() {
        let exception = Exception::new(ReplyCode::NotFound, "ä".repeat(300));
        let text = exception.reply_text();
        assert!(text.len() <= 255 && text.starts_with("NOT_FOUND - ää"));
    }

    #[test]
    fn soft_codes_close_the_channel_and_hard_ones_the_connection() {
        for (code, closes) in [
            (ReplyCode::NotFound, false),
            (ReplyCode::PreconditionFailed, false),
            (ReplyCode::ResourceLocked, false),
            (ReplyCode::AccessRefused, false),
            (ReplyCode::NotAllowed, true),
            (ReplyCode::CommandInvalid, true),
            (ReplyCode::NotImplemented, true),
        ] {
            assert_eq!(code.closes_connection(), closes, "{code:?}");
        }
    }
}
