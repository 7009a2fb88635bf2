//! The running connection: channels' methods and contents in, the core's outputs out.

use super::content::{Content, Progress};
use super::request::Request;
use super::session::{Session, State};
use crate::embedded::core::{
    ChannelNumber, Exception, Input, Operation, Output, Reply, ReplyCode, UnixMillis,
};
use amq_protocol::protocol::connection::{self, AMQPMethod};
use bytes::Bytes;

impl Session {
    /// Takes what the core says to this connection.
    pub fn handle_output(&mut self, now: UnixMillis, output: &Output) {
        match output {
            Output::Opened { .. } => self.opened(),
            Output::Closed { .. } if self.state == State::ClosedByClient => self.answer_close(),
            Output::Closed { .. } | Output::Log(..) => {}
            Output::ConnectionException { exception, .. } => {
                if matches!(self.state, State::Running | State::Opening) {
                    self.close(now, exception);
                }
            }
            Output::Reply { channel, reply, .. } if self.state == State::Running => {
                self.write_reply(channel.0, reply);
            }
            Output::ChannelException { channel, exception, .. } if self.state == State::Running => {
                self.contents.remove(&channel.0);
                self.closing_channels.insert(channel.0);
                self.encoder.channel_close(channel.0, exception, &mut self.out);
            }
            Output::Reply { .. } | Output::ChannelException { .. } => {}
            Output::Blocked { reason, .. } => {
                self.blocked = true;
                if self.capabilities.connection_blocked && self.state == State::Running {
                    let blocked = connection::Blocked { reason: reason.text().into() };
                    self.encoder.connection(AMQPMethod::Blocked(blocked), &mut self.out);
                }
            }
            Output::Unblocked { .. } => {
                self.blocked = false;
                self.last_received = now;
                if self.capabilities.connection_blocked && self.state == State::Running {
                    let unblocked = AMQPMethod::Unblocked(connection::Unblocked {});
                    self.encoder.connection(unblocked, &mut self.out);
                }
            }
        }
    }

    fn write_reply(&mut self, channel: u16, reply: &Reply) {
        let before = self.out.len();
        match reply {
            Reply::ConsumerCancelled { .. } if !self.capabilities.consumer_cancel_notify => return,
            _ => self.encoder.reply(channel, reply, &mut self.out),
        }
        if let Reply::Deliver { delivery, .. } = reply {
            self.note_delivery(delivery.cost_bytes(), self.out.len() - before);
        }
        if matches!(reply, Reply::ChannelClosed) {
            self.closing_channels.remove(&channel);
        }
    }

    pub(super) fn on_channel_method(&mut self, channel: u16, payload: &[u8]) -> Result<(), Exception> {
        if channel > self.channels_max {
            let text =
                format!("channel {channel} is above the negotiated channel_max ({})", self.channels_max);
            return Err(Exception::new(ReplyCode::ChannelError, text));
        }
        if self.contents.contains_key(&channel) {
            let text = "expected content, got a method frame instead";
            return Err(Exception::new(ReplyCode::UnexpectedFrame, text));
        }
        let closing = self.closing_channels.contains(&channel);
        match Request::parse(payload)? {
            Request::Connection(_) => {
                Err(Exception::new(ReplyCode::CommandInvalid, "connection methods belong on channel 0"))
            }
            Request::Publish(publication) => {
                if !closing {
                    self.contents.insert(channel, Content::Header(publication));
                }
                Ok(())
            }
            Request::Channel(operation) => {
                if matches!(operation, Operation::CloseOk | Operation::Close) {
                    self.closing_channels.remove(&channel);
                    self.operation(channel, operation);
                } else if !closing {
                    self.operation(channel, operation);
                }
                Ok(())
            }
        }
    }

    pub(super) fn on_header(&mut self, channel: u16, payload: &Bytes) -> Result<(), Exception> {
        let Some(content) = self.take_content(channel)? else { return Ok(()) };
        let progress = content.on_header(payload, &self.limits)?;
        self.progressed(channel, progress);
        let announced: u64 = self.contents.values().map(Content::announced_bytes).sum();
        if announced > self.limits.assembling_bytes_max {
            let text = format!(
                "contents of {announced} bytes are on the way, more than the maximum of {}",
                self.limits.assembling_bytes_max
            );
            return Err(Exception::new(ReplyCode::ResourceError, text).blamed_on((60, 40)));
        }
        Ok(())
    }

    pub(super) fn on_body(&mut self, channel: u16, payload: Bytes) -> Result<(), Exception> {
        let Some(content) = self.take_content(channel)? else { return Ok(()) };
        let progress = content.on_body(payload)?;
        self.progressed(channel, progress);
        Ok(())
    }

    /// The content a frame belongs to; none if its channel was closed under it.
    fn take_content(&mut self, channel: u16) -> Result<Option<Content>, Exception> {
        match self.contents.remove(&channel) {
            Some(content) => Ok(Some(content)),
            None if self.closing_channels.contains(&channel) => Ok(None),
            None => Err(Exception::new(ReplyCode::UnexpectedFrame, "content without basic.publish")),
        }
    }

    fn progressed(&mut self, channel: u16, progress: Progress) {
        match progress {
            Progress::Incomplete(content) => {
                self.contents.insert(channel, content);
            }
            Progress::Complete(operation) => {
                if let Some(operation) = operation {
                    self.operation(channel, operation);
                }
            }
            Progress::Refused(exception, content) => {
                self.contents.insert(channel, content);
                self.operation(channel, Operation::Fault(exception));
            }
        }
    }

    fn operation(&mut self, channel: u16, operation: Operation) {
        let (connection, channel) = (self.connection, ChannelNumber(channel));
        self.inputs.push_back(Input::Operation { connection, channel, operation });
    }
}
