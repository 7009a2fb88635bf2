//! rumqttc with MQTT 3.1.1.

use std::time::Duration;

use rumqttc::{
    AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, Packet, Publish, QoS, SubscribeReasonCode,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::device::{Answers, Connect, Lost, Message, Reply, Signals};

#[derive(Debug)]
pub(crate) struct V4 {
    client: AsyncClient,
    pub(crate) answers: Answers,
    driver: JoinHandle<()>,
}

impl V4 {
    pub(crate) async fn connect(how: &Connect) -> Result<(Self, mpsc::Receiver<Message>, bool), Lost> {
        let mut options = MqttOptions::new(&how.id, "127.0.0.1", how.port);
        options
            .set_clean_session(!how.persistent)
            .set_keep_alive(Duration::from_secs(how.keep_alive_s.into()));
        let (client, event_loop) = AsyncClient::new(options, 100);
        let (signals, answers, messages) = Signals::new();
        let driver = tokio::spawn(drive(event_loop, signals));
        let mut device = Self { client, answers, driver };
        let session_present = device.answers.next().await? == Reply::Connected { session_present: true };
        Ok((device, messages, session_present))
    }

    pub(crate) async fn subscribe(&mut self, filter: &str, qos: u8) -> Result<(), Lost> {
        self.client.subscribe(filter, level(qos)).await.map_err(|_| self.answers.why())?;
        self.answers.next().await.map(drop)
    }

    pub(crate) async fn publish(&mut self, topic: &str, payload: &[u8], qos: u8) -> Result<(), Lost> {
        self.client.publish(topic, level(qos), false, payload).await.map_err(|_| self.answers.why())?;
        if qos == 0 { Ok(()) } else { self.answers.next().await.map(drop) }
    }

    pub(crate) async fn disconnect(&mut self) {
        self.client.disconnect().await.ok(); // already lost is as good
    }
}

impl Drop for V4 {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

async fn drive(mut event_loop: EventLoop, signals: Signals) {
    let lost = loop {
        match event_loop.poll().await {
            Ok(Event::Incoming(packet)) => take(packet, &signals).await,
            Ok(Event::Outgoing(_)) => {}
            Err(ConnectionError::ConnectionRefused(code)) => {
                break Lost { reason: format!("refused: {code:?}"), code: Some(code as u8) };
            }
            Err(error) => break Lost::because(error.to_string()),
        }
    };
    signals.ended.set(lost).ok();
}

async fn take(packet: Packet, signals: &Signals) {
    let reply = match packet {
        Packet::ConnAck(ack) => Reply::Connected { session_present: ack.session_present },
        Packet::SubAck(ack) if ack.return_codes.contains(&SubscribeReasonCode::Failure) => {
            Reply::Refused(Lost { reason: "subscription refused".to_owned(), code: Some(0x80) })
        }
        Packet::SubAck(_) | Packet::PubAck(_) | Packet::PubComp(_) => Reply::Done,
        Packet::Publish(publish) => {
            // The receiver is gone when the device is being dropped: then this driver is about to end as well.
            signals.messages.send(message(publish)).await.ok();
            return;
        }
        _ => return,
    };
    signals.replies.send(reply).await.ok();
}

fn message(publish: Publish) -> Message {
    Message {
        topic: publish.topic,
        payload: publish.payload.to_vec(),
        qos: publish.qos as u8,
        duplicate: publish.dup,
        user_properties: Vec::new(),
        answer_to: None,
    }
}

fn level(qos: u8) -> QoS {
    rumqttc::qos(qos).unwrap_or_else(|_| panic!("no such QoS: {qos}"))
}
