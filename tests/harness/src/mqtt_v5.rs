//! rumqttc with MQTT 5.

use std::time::Duration;

use rumqttc::v5::mqttbytes::v5::{
    Packet, PubAckReason, PubRecReason, Publish, PublishProperties, SubscribeReasonCode,
};
use rumqttc::v5::mqttbytes::{QoS, qos as level_of};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, StateError};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::device::{Answers, Connect, Lost, Message, Reply, Signals};

#[derive(Debug)]
pub(crate) struct V5 {
    client: AsyncClient,
    pub(crate) answers: Answers,
    driver: JoinHandle<()>,
}

impl V5 {
    pub(crate) async fn connect(how: &Connect) -> Result<(Self, mpsc::Receiver<Message>, bool), Lost> {
        let mut options = MqttOptions::new(&how.id, "127.0.0.1", how.port);
        options.set_clean_start(!how.persistent).set_keep_alive(Duration::from_secs(how.keep_alive_s.into()));
        options.set_session_expiry_interval(how.persistent.then_some(3600));
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
        let payload = payload.to_vec();
        self.client.publish(topic, level(qos), false, payload).await.map_err(|_| self.answers.why())?;
        if qos == 0 { Ok(()) } else { self.answers.next().await.map(drop) }
    }

    pub(crate) async fn publish_saying(
        &mut self,
        topic: &str,
        payload: &[u8],
        pairs: &[(&str, &str)],
    ) -> Result<(), Lost> {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let user_properties = pairs.iter().map(pair).collect();
        let properties = PublishProperties { user_properties, ..PublishProperties::default() };
        self.publish_with(topic, payload, properties).await
    }

    pub(crate) async fn publish_correlated(
        &mut self,
        topic: &str,
        payload: &[u8],
        data: &[u8],
    ) -> Result<(), Lost> {
        let correlation_data = Some(data.to_vec().into());
        let properties = PublishProperties { correlation_data, ..PublishProperties::default() };
        self.publish_with(topic, payload, properties).await
    }

    async fn publish_with(
        &mut self,
        topic: &str,
        payload: &[u8],
        properties: PublishProperties,
    ) -> Result<(), Lost> {
        let (level, payload) = (QoS::AtLeastOnce, payload.to_vec());
        let published = self.client.publish_with_properties(topic, level, false, payload, properties).await;
        published.map_err(|_| self.answers.why())?;
        self.answers.next().await.map(drop)
    }

    pub(crate) async fn disconnect(&mut self) {
        self.client.disconnect().await.ok(); // already lost is as good
    }
}

impl Drop for V5 {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

async fn drive(mut event_loop: EventLoop, signals: Signals) {
    let lost = loop {
        match event_loop.poll().await {
            Ok(Event::Incoming(packet)) => take(packet, &signals).await,
            Ok(Event::Outgoing(_)) => {}
            Err(ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, reason_string })) => {
                let reason = format!("{reason_code:?} {}", reason_string.unwrap_or_default());
                break Lost { reason, code: Some(reason_code as u8) };
            }
            Err(error) => break Lost::because(error.to_string()),
        }
    };
    signals.ended.set(lost).ok();
}

async fn take(packet: Packet, signals: &Signals) {
    let reply = match packet {
        Packet::ConnAck(ack) => Reply::Connected { session_present: ack.session_present },
        Packet::SubAck(ack) => match ack.return_codes.first() {
            Some(SubscribeReasonCode::Success(_)) => Reply::Done,
            refused => Reply::Refused(Lost::because(format!("subscription refused: {refused:?}"))),
        },
        Packet::PubAck(ack) => match ack.reason {
            // Nobody here wants it now; that is no failure of the publisher.
            PubAckReason::Success | PubAckReason::NoMatchingSubscribers => Reply::Done,
            refused => {
                Reply::Refused(Lost { reason: format!("PUBACK {refused:?}"), code: Some(refused as u8) })
            }
        },
        Packet::PubRec(ack) => match ack.reason {
            // PUBCOMP follows.
            PubRecReason::Success | PubRecReason::NoMatchingSubscribers => return,
            refused => {
                Reply::Refused(Lost { reason: format!("PUBREC {refused:?}"), code: Some(refused as u8) })
            }
        },
        Packet::PubComp(_) => Reply::Done,
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
    let properties = publish.properties.unwrap_or_default();
    Message {
        topic: String::from_utf8_lossy(&publish.topic).into_owned(),
        payload: publish.payload.to_vec(),
        qos: publish.qos as u8,
        duplicate: publish.dup,
        answer_to: properties.response_topic.zip(properties.correlation_data.map(|data| data.to_vec())),
        user_properties: properties.user_properties,
    }
}

fn level(qos: u8) -> QoS {
    level_of(qos).unwrap_or_else(|| panic!("no such QoS: {qos}"))
}
