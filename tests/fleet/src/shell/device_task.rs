//! One device's task: carries its packets, wakes it when something is due, and performs what it wants. No policy here.
//!
//! While it is idle it owns no buffer: what comes is read into the crew's, and only what is no whole packet yet is kept.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use roost_gateway::packet::{DecodeLimits, Decoder, ReasonCode};
use roost_wire::BootTime;
use tokio::io::ReadBuf;
use tokio::time::Sleep;

use super::clock;
use super::crew::Post;
use super::socket::Connection;
use crate::{Count, Device, Input, Loss, Trouble};

pub(super) struct DeviceTask {
    post: Rc<Post>,
    /// Its place in the crew.
    seat: usize,
    device: Device,
    transport: Transport,
    decoder: Decoder,
    /// What is to be written and could not be yet.
    unwritten: BytesMut,
    /// What was read and is no whole packet yet.
    unread: BytesMut,
    alarm: Option<(BootTime, Pin<Box<Sleep>>)>,
    /// Which of the crew's orders it has followed.
    followed: u8,
    /// How many of the crew's questions it has answered.
    answered: u32,
    /// Its records are with the crew.
    handed_in: bool,
}

enum Transport {
    None,
    Opening(Pin<Box<dyn Future<Output = io::Result<Connection>>>>),
    Open(Connection),
}

/// Whether anything happened: then there may be more to do.
type Progress = bool;

impl DeviceTask {
    pub(super) fn new(post: Rc<Post>, seat: usize, device: Device) -> Self {
        let decoder = Decoder::for_client(post.plan.mqtt.version(), DecodeLimits::default());
        Self {
            post,
            seat,
            device,
            transport: Transport::None,
            decoder,
            unwritten: BytesMut::new(),
            unread: BytesMut::new(),
            alarm: None,
            followed: 0,
            answered: 0,
            handed_in: false,
        }
    }

    fn follow_orders(&mut self, cx: &mut Context<'_>) -> Progress {
        if self.answered != self.post.asked() {
            self.answered = self.post.asked();
            self.post.hand_in(self.device.records().clone());
        }
        let (orders, begin) = self.post.orders();
        if self.followed == orders {
            return false;
        }
        let new = orders & !self.followed;
        self.followed = orders;
        if let Some(at) = begin.filter(|_| new & Post::BEGUN != 0) {
            self.device.begin(&self.post.plan, at, self.post.weights.of(self.device.index()));
        }
        if new & Post::CEASED != 0 {
            self.device.cease();
        }
        let input = if new & Post::FINISHED != 0 { Input::Finish } else { Input::Tick };
        self.give(cx, input);
        if new & Post::FINISHED != 0 {
            // It may have to remove its session yet, which its records do not wait for.
            self.hand_in();
        }
        true
    }

    fn hand_in(&mut self) {
        if !std::mem::replace(&mut self.handed_in, true) {
            self.post.hand_in(self.device.take_records());
        }
    }

    fn carry(&mut self, cx: &mut Context<'_>) -> Progress {
        match &mut self.transport {
            Transport::None => false,
            Transport::Opening(opening) => match opening.as_mut().poll(cx) {
                Poll::Pending => false,
                Poll::Ready(Ok(connection)) => {
                    self.transport = Transport::Open(connection);
                    self.decoder =
                        Decoder::for_client(self.post.plan.mqtt.version(), DecodeLimits::default());
                    let login = self.post.logins.of(&self.post.plan, self.device.index());
                    self.give(cx, Input::Opened(login.expect("all logins were looked at before the run")));
                    true
                }
                Poll::Ready(Err(error)) => {
                    self.post.note_failure(&error);
                    self.lose(cx, Loss::NotMade)
                }
            },
            Transport::Open(_) if !self.unwritten.is_empty() => self.write_rest(cx),
            Transport::Open(_) => self.read(cx),
        }
    }

    fn write_rest(&mut self, cx: &mut Context<'_>) -> Progress {
        let Transport::Open(connection) = &mut self.transport else { return false };
        match connection.as_mut().poll_write(cx, &self.unwritten) {
            Poll::Pending => false,
            Poll::Ready(Ok(written)) if written > 0 => {
                self.unwritten.advance(written);
                if self.unwritten.is_empty() {
                    self.unwritten = BytesMut::new();
                }
                true
            }
            Poll::Ready(_) => self.lose(cx, Loss::ByPeer),
        }
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Progress {
        if self.device.reads_from() > clock::now() {
            return false;
        }
        let Transport::Open(connection) = &mut self.transport else { return false };
        let post = Rc::clone(&self.post);
        let mut shared = post.buffer.borrow_mut();
        let mut read = ReadBuf::new(&mut shared);
        match connection.as_mut().poll_read(cx, &mut read) {
            Poll::Pending => return false,
            Poll::Ready(Ok(())) if !read.filled().is_empty() => {}
            Poll::Ready(_) => return self.lose(cx, Loss::ByPeer),
        }
        post.effects.borrow_mut().figures.count_many(Count::BytesIn, read.filled().len() as u64);
        let mut bytes = std::mem::take(&mut self.unread);
        bytes.extend_from_slice(read.filled());
        self.decode(cx, bytes);
        true
    }

    fn decode(&mut self, cx: &mut Context<'_>, mut bytes: BytesMut) {
        while matches!(self.transport, Transport::Open(_)) {
            match self.decoder.decode(&mut bytes) {
                Ok(Some(packet)) => self.give(cx, Input::Received(packet)),
                Ok(None) => {
                    // Of its own: the rest of what was decoded is not kept alive by it.
                    self.unread = BytesMut::from(&bytes[..]);
                    return;
                }
                Err(_) => {
                    self.lose(cx, Loss::NotMqtt);
                }
            }
        }
    }

    fn lose(&mut self, cx: &mut Context<'_>, loss: Loss) -> Progress {
        self.drop_transport();
        self.give(cx, Input::Closed(loss));
        true
    }

    fn drop_transport(&mut self) {
        self.transport = Transport::None;
        self.unwritten = BytesMut::new();
        self.unread = BytesMut::new();
    }

    fn tick_if_due(&mut self, cx: &mut Context<'_>) -> Progress {
        let due = self.device.timeout(&self.post.plan, !self.unwritten.is_empty());
        let now = clock::now();
        if due.is_some_and(|due| due <= now) {
            self.give(cx, Input::Tick);
            return true;
        }
        // It reads again by then.
        let reads = Some(self.device.reads_from()).filter(|from| *from > now);
        self.set_alarm(cx, [due, reads].into_iter().flatten().min())
    }

    /// `true` if the alarm has gone off already.
    fn set_alarm(&mut self, cx: &mut Context<'_>, at: Option<BootTime>) -> Progress {
        let Some(at) = at else {
            self.alarm = None;
            return false;
        };
        match &mut self.alarm {
            Some((set, sleep)) if *set != at => {
                sleep.as_mut().reset(clock::instant(at));
                *set = at;
            }
            Some(_) => {}
            None => self.alarm = Some((at, Box::pin(tokio::time::sleep_until(clock::instant(at))))),
        }
        let gone_off = self.alarm.as_mut().is_some_and(|(_, sleep)| sleep.as_mut().poll(cx).is_ready());
        if gone_off {
            self.alarm = None;
        }
        gone_off
    }

    /// Gives the device an input, and performs what it wants.
    fn give(&mut self, cx: &mut Context<'_>, input: Input) {
        let post = Rc::clone(&self.post);
        let mut effects = post.effects.borrow_mut();
        effects.blocked = !self.unwritten.is_empty();
        self.device.handle(&post.plan, clock::now(), input, &mut effects);
        if !effects.wire.is_empty() {
            let wanted = effects.wire.len() as u64;
            effects.figures.count_many(Count::BytesOut, wanted);
            let written = self.write(cx, &effects.wire);
            self.unwritten.extend_from_slice(&effects.wire[written..]);
            effects.wire.clear();
        }
        if std::mem::take(&mut effects.close) {
            self.drop_transport();
        }
        if let Some(trouble) = effects.trouble.take() {
            post.note_trouble(told(trouble));
        }
        if let Some(broker) = effects.open.take() {
            let broker = post.plan.brokers[usize::from(broker)];
            let source = post.source(self.device.index());
            self.transport = Transport::Opening(Box::pin(post.connector.clone().connect(broker, source)));
        }
    }

    /// Writes what goes at once; if that is an error, the next write or read says so again.
    fn write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> usize {
        match &mut self.transport {
            Transport::Open(connection) if self.unwritten.is_empty() => {
                match connection.as_mut().poll_write(cx, bytes) {
                    Poll::Ready(Ok(written)) => written,
                    Poll::Ready(Err(_)) | Poll::Pending => 0,
                }
            }
            Transport::Open(_) => 0,
            Transport::None | Transport::Opening(_) => bytes.len(),
        }
    }
}

/// What a broker has said, behind how often it did.
fn told(trouble: Trouble) -> String {
    let coded = |reason: ReasonCode| format!("{reason:?} (0x{:02X})", reason.byte());
    match trouble {
        Trouble::Refused(reason) => format!("connections were refused: {}", coded(reason)),
        Trouble::Disconnected(reason) => format!("connections were ended by the broker: {}", coded(reason)),
        Trouble::MaximumQos(qos) => {
            format!("devices have ended: the broker takes messages up to QoS {} only (CONNACK)", qos.byte())
        }
    }
}

impl Future for DeviceTask {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        this.post.listen(this.seat, cx.waker());
        while this.follow_orders(cx) | this.carry(cx) | this.tick_if_due(cx) {
            if this.device.has_ended() {
                break;
            }
        }
        if !this.device.has_ended() {
            return Poll::Pending;
        }
        this.drop_transport();
        this.hand_in();
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use super::DeviceTask;

    /// An idle device is its task, its alarm, its seat and its socket: with what the runtime adds to each of them it takes
    /// 1.6 KiB, as measured, and the aim is 2 KiB.
    #[test]
    fn a_device_is_small() {
        let bytes = std::mem::size_of::<DeviceTask>();
        assert!(bytes <= 704, "{bytes} B");
    }
}
