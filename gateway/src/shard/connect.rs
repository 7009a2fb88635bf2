//! A CONNECT is answered: a session is found or made, or the client is refused with the reason.

use std::num::NonZeroU32;
use std::time::Duration;

use roost_wire::{Device, DeviceId, Now, Sighting, Tenant};

use super::close::Farewell;
use super::connection::{Client, Connection};
use super::publish::headers_fit;
use super::{HandOver, Output, Shard, TimerFor};
use crate::authentication::Exchange;
use crate::link::FromShard;
use crate::packet::{
    BinaryData, Connack, ConnackProperties, Connect, Encoder, Packet, ProtocolVersion, ReasonCode, Secret,
    Text,
};
use crate::session::{Pending, Session, SessionKey, Will, WillError};
use crate::sys;
use crate::{ConnectionId, Count, Notice};

/// Why a CONNECT is refused.
pub(super) struct Refused {
    count: Count,
    reason: ReasonCode,
    text: &'static str,
}

impl Refused {
    pub(super) const fn packet_size(text: &'static str) -> Self {
        Self { count: Count::RefusedPacketSize, reason: ReasonCode::ImplementationSpecificError, text }
    }
}

impl Shard {
    pub(super) fn connect(&mut self, now: Now, id: ConnectionId, connect: Connect) {
        let device = self.check_connect(&connect).and_then(|()| self.device(id, &connect));
        let device = match device.and_then(|device| self.check_packet_size(&connect, device)) {
            Ok(device) => device,
            Err(refused) => return self.refuse(now, id, &connect, refused),
        };
        let Some(connect) = self.admit(now, id, connect) else { return };
        if !self.config.placement.holds(&device) {
            return self.hand_over(id, connect, &device);
        }
        if self.may_be_stored(&device) {
            return self.connect_when_read(id, connect, &device);
        }
        if !self.takeovers.has_turn(now.boot, &device) {
            return self.refuse_takeover(now, id, &connect, device);
        }
        let earlier = self.supersede_fetch(now, &device);
        let mut was_here = false;
        if let Some(&key) = self.by_device.get(&device) {
            let (was_connected, entered_in) =
                (self.sessions[&key].connection.is_some(), self.sessions[&key].entered_in);
            was_here = was_connected && self.turn.is_unbroken(entered_in, now.boot);
            self.take_over(now, key, connect.clean_start);
            if let Some(session) = self.sessions.touch(&key).filter(|_| was_connected) {
                session.left_in = entered_in;
            }
        }
        if !connect.clean_start && self.is_to_come_later(now.boot, &device) {
            return self.refuse_undecided(now, id, &connect);
        }
        // A takeover under an unbroken lease needs no router, and an id that was made for this CONNECT has no session.
        let may_be_elsewhere = !connect.clean_start && !was_here && !connect.client_id.is_empty();
        if may_be_elsewhere && self.fetches_session(now, &device) {
            return self.fetch(now.boot, id, connect, device, earlier);
        }
        self.answer_connect(now, id, &connect, device);
    }

    /// Accepts a CONNECT with the session that is here, or with a new one.
    pub(super) fn answer_connect(&mut self, now: Now, id: ConnectionId, connect: &Connect, device: Device) {
        let (key, session_present) = match self.by_device.get(&device) {
            Some(&key) => (key, true),
            None if self.sessions.len() >= self.config.limits.sessions_max => {
                let refused = Refused {
                    count: Count::RefusedSessions,
                    reason: ReasonCode::QuotaExceeded,
                    text: "the gateway holds as many sessions as it may",
                };
                return self.refuse(now, id, connect, refused);
            }
            None => (self.new_session(now, device), false),
        };
        if let Some(session) = self.sessions.touch(&key).filter(|_| !session_present) {
            let may_have_roamed =
                !self.config.limits.session_transfer.is_zero() && self.turn.roams != Some(false);
            session.is_untold = may_have_roamed && !connect.clean_start;
        }
        self.accept(now, id, connect, key, session_present);
    }

    pub(super) fn handed_over(&mut self, now: Now, from: HandOver) {
        let HandOver { connection: id, decoder, connect, login, unread, opened_at, entropy } = from;
        let mut connection = Connection::new(opened_at, entropy, self.config.limits.decode);
        connection.decoder = decoder;
        connection.login = login;
        connection.unread = unread;
        self.connections.insert(id, Box::new(connection));
        self.timers.set(TimerFor::Connection(id), opened_at + self.config.limits.connect_timeout);
        self.connect(now, id, connect);
        self.read(now, id);
    }

    /// How long a session is kept whose client wants it kept for that long.
    pub(super) fn expiry_granted(&self, seconds: u32) -> Duration {
        Duration::from_secs(seconds.into()).min(self.config.limits.session_expiry_max)
    }

    pub(super) fn check_connect(&self, connect: &Connect) -> Result<(), Refused> {
        if self.is_draining() {
            return Err(Refused {
                count: Count::RefusedDraining,
                reason: ReasonCode::UseAnotherServer,
                text: "the gateway is shutting down; connect again to reach another",
            });
        }
        if self.spooling.is_full() {
            return Err(Refused {
                count: Count::RefusedSpoolFull,
                reason: ReasonCode::ServerUnavailable,
                text: "the gateway cannot take events in at the moment; try another, or later",
            });
        }
        if self.storing.is_stuck() {
            return Err(Refused {
                count: Count::RefusedStoreStuck,
                reason: ReasonCode::ServerUnavailable,
                text: "the gateway cannot keep sessions at the moment; try another, or later",
            });
        }
        // [MQTT-4.12.0-1]
        let method = connect.properties.authentication_method.as_ref();
        if method.is_some_and(|method| !self.config.authentication.offers(method)) {
            return Err(Refused {
                count: Count::RefusedAuthMethod,
                reason: ReasonCode::BadAuthenticationMethod,
                text: "this authentication method is not supported",
            });
        }
        connect.will.as_ref().map_or(Ok(()), |will| self.check_will(will))
    }

    /// A will that could not be published is not taken.
    fn check_will(&self, will: &crate::packet::Will) -> Result<(), Refused> {
        let refused = |reason, text| Refused { count: Count::RefusedWill, reason, text };
        let will = Will::new(will).map_err(|error| match error {
            WillError::Topic => refused(ReasonCode::TopicNameInvalid, "the will's topic is too deep"),
            WillError::PayloadFormat => {
                refused(ReasonCode::PayloadFormatInvalid, "the will is not the UTF-8 text that it says it is")
            }
        })?;
        let topic = &will.message().topic;
        if sys::is_below(topic) {
            return Err(refused(ReasonCode::NotAuthorized, "the will's topic is the gateway's own"));
        }
        let is_carried = self.config.uplink.carried(topic).is_some()
            || self.config.answers.may_be_answer(topic)
            || self.is_broadcast(topic);
        if is_carried && !headers_fit(will.message()) {
            return Err(refused(
                ReasonCode::QuotaExceeded,
                "the will's properties are longer than AMQP takes",
            ));
        }
        if self.wills.bytes() + will.bytes() > self.config.limits.wills_bytes_max {
            return Err(Refused {
                count: Count::RefusedWillsFull,
                reason: ReasonCode::QuotaExceeded,
                text: "the gateway holds as many wills as it may",
            });
        }
        Ok(())
    }

    /// The device that connects. User name and password are not read, and whoever is let in may be any device.
    fn device(&self, id: ConnectionId, connect: &Connect) -> Result<Device, Refused> {
        let refused = |text| Refused {
            count: Count::RefusedClientId,
            reason: ReasonCode::ClientIdentifierNotValid,
            text,
        };
        if connect.client_id.is_empty() {
            // [MQTT-3.1.3-8]; in MQTT 3.1 an identifier has at least one character [MQTT31 §3.1].
            let is_refused = match connect.version {
                ProtocolVersion::V31 => true,
                ProtocolVersion::V311 => !connect.clean_start,
                ProtocolVersion::V5 => false,
            };
            if is_refused {
                return Err(refused("an empty client identifier needs a clean session"));
            }
            let entropy = self.connections.get(&id).map_or(0, |connection| connection.entropy);
            return Ok(self.assigned_device(entropy));
        }
        // More than the 23 characters that MQTT 3.1 allows: clients of it send longer ones, and brokers let them in.
        let id = DeviceId::parse(&connect.client_id).map_err(|_| {
            refused("a client identifier has 1 to 64 bytes without control characters, + and #")
        })?;
        Ok(Device::new(Tenant::default(), id))
    }

    /// An id nobody else has, for a device of this shard: the shards of a process are few, so a few draws suffice.
    fn assigned_device(&self, entropy: u64) -> Device {
        let draws = (1..).map(|n: u64| {
            let id = format!("auto-{:016x}", scramble(entropy.wrapping_add(n.wrapping_mul(GOLDEN))));
            Device::new(Tenant::default(), DeviceId::parse(&id).expect("hex digits are allowed in an id"))
        });
        let is_free =
            |device: &Device| self.config.placement.holds(device) && !self.by_device.contains_key(device);
        draws.into_iter().find(is_free).expect("the sequence of draws does not end")
    }

    /// Who takes no packet as large as its CONNACK cannot be let in [MQTT-3.1.2-24].
    fn check_packet_size(&self, connect: &Connect, device: Device) -> Result<Device, Refused> {
        if connect.properties.maximum_packet_size.is_none_or(|max| max.get() >= CONNACK_BYTES_MAX) {
            return Ok(device);
        }
        let method = connect.properties.authentication_method.as_ref();
        let last = method
            .map(|_| Secret::new(BinaryData::parse(vec![0; Exchange::LAST_BYTES_MAX]).unwrap_or_default()));
        let connack = Packet::Connack(self.connack(connect, &device.id, false, last));
        match Encoder::for_client(connect).encoded_len(&connack) {
            Ok(_) => Ok(device),
            Err(_) => Err(Refused::packet_size("the maximum packet size is less than what CONNACK takes")),
        }
    }

    pub(super) fn refuse(&mut self, now: Now, id: ConnectionId, connect: &Connect, refused: Refused) {
        let farewell = Farewell::Connack(Encoder::for_client(connect), refused.reason, Some(refused.text));
        let device = DeviceId::parse(&connect.client_id).ok().map(|id| Device::new(Tenant::default(), id));
        self.close_saying(now, id, Notice::Refused { device, why: refused.count }, farewell);
    }

    /// What is here of the device's may be stale, or the newest: whoever could say so may be there soon.
    pub(super) fn refuse_undecided(&mut self, now: Now, id: ConnectionId, connect: &Connect) {
        let refused = Refused {
            count: Count::RefusedUndecided,
            reason: ReasonCode::ServerUnavailable,
            text: "the gateway has just started, and waits for its router to say whether this session is the newest; come back soon",
        };
        self.refuse(now, id, connect, refused);
    }

    /// Clients that share an id take it from each other again and again: the one that is connected stays for a while.
    fn refuse_takeover(&mut self, now: Now, id: ConnectionId, connect: &Connect, device: Device) {
        let holder = self.by_device.get(&device).and_then(|key| self.sessions[key].connection);
        let shared = Notice::SharedClientId { device, newcomer: id, holder };
        self.outputs.push_back(Output::Notice(Box::new(shared)));
        let refused = Refused {
            count: Count::RefusedTakeovers,
            reason: ReasonCode::ConnectionRateExceeded,
            text: "clients take over this client identifier from each other; give each its own, or come back in ten seconds",
        };
        self.refuse(now, id, connect, refused);
    }

    fn hand_over(&mut self, id: ConnectionId, connect: Connect, device: &Device) {
        let Some(connection) = self.connections.remove(&id) else { return };
        self.timers.cancel(TimerFor::Connection(id));
        let Connection { decoder, login, unread, opened_at, entropy, .. } = *connection;
        let hand_over =
            Box::new(HandOver { connection: id, decoder, connect, login, unread, opened_at, entropy });
        let to = self.config.placement.shard_of(device);
        self.outputs.push_back(Output::HandOver { to, hand_over });
    }

    /// Closes the older connection of a device [MQTT-3.1.4-3], and forgets its session if it is not wanted.
    fn take_over(&mut self, now: Now, key: SessionKey, clean_start: bool) {
        if let Some(older) = self.sessions[&key].connection {
            self.takeovers.note(now.boot, &self.sessions[&key].device);
            self.close(
                now,
                older,
                Count::ClosedTakenOver,
                Farewell::Disconnect(ReasonCode::SessionTakenOver),
            );
        }
        if clean_start {
            self.end_session(now, key, Count::SessionClean);
        }
    }

    pub(super) fn new_session(&mut self, now: Now, device: Device) -> SessionKey {
        let key = SessionKey(self.next_key);
        self.next_key += 1;
        self.by_device.insert(device.clone(), key);
        // The id is the CONNECT's, given when it is accepted.
        self.sessions.insert(key, Session::new(device, roost_wire::SessionId::default(), now.boot));
        key
    }

    pub(super) fn accept(
        &mut self,
        now: Now,
        id: ConnectionId,
        connect: &Connect,
        key: SessionKey,
        session_present: bool,
    ) {
        self.cancel_will(key, Count::WillResumed);
        let will = connect.will.as_ref().and_then(|will| Will::new(will).ok()).map(Box::new);
        if let Some(will) = &will {
            self.wills.keep(will);
        }
        let limits = &self.config.limits;
        let wished_s = expiry_wished_s(connect);
        let expiry = self.expiry_granted(wished_s);
        let inflight_max = connect.properties.receive_maximum.map_or(u16::MAX, |max| max.get());
        let keep_alive_s = self.keep_alive_s(connect);
        // [MQTT-3.1.2-26]
        let topic_alias_max = connect.properties.topic_alias_maximum.unwrap_or(0);
        let encoder = Encoder::for_client(connect);
        let mut login = self.connections.get_mut(&id).and_then(|connection| connection.login.take());
        let last = login.as_mut().and_then(|login| login.last.take());
        let is_authenticated = login.is_some();
        let client = Client {
            session: key,
            encoder,
            login,
            silence_max: (keep_alive_s > 0).then(|| Duration::from_millis(u64::from(keep_alive_s) * 1_500)),
            heard_at: now.boot,
            window: inflight_max.min(limits.inflight_max.get()),
            topic_alias_max: topic_alias_max.min(limits.topic_alias_maximum),
            aliases: None,
            will,
            asked_for_expiry: wished_s > 0,
            pending: Pending::default(),
            parked: std::collections::VecDeque::new(),
            parked_bytes: 0,
            crossing_bytes: 0,
            waits_for: None,
            woken_by: None,
        };
        let session_id = self.config.placement.session(self.next_session);
        self.next_session += 1;
        let Some(session) = self.sessions.touch(&key) else { return };
        session.renumber(session_id, now.boot);
        session.entered_in = self.turn.era;
        session.connection = Some(id);
        // It has the time of any other client to acknowledge what it is sent again.
        session.moved_at = now.boot;
        session.expiry = expiry;
        session.expires_at = None;
        let present = session.present();
        let connected = Notice::Connected { device: session.device.clone(), session: session_id };
        self.outputs.push_back(Output::Notice(Box::new(connected)));
        self.timers.cancel(TimerFor::Session(key));
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.client = Some(Box::new(client));
        }
        self.connected += 1;
        self.count(Count::Connected);
        if is_authenticated {
            self.count(Count::Authenticated);
        }
        let connack = self.connack(connect, &present.device.id, session_present, last);
        self.send(now, id, &Packet::Connack(connack));
        self.tell_link(FromShard::Sighting(Sighting::Accepted(present)));
        self.release_again(now, id, key);
        self.member_is_connected(key, true);
        self.pump(now, id);
        self.arm(id);
    }

    /// The keep alive that counts for a client: its own, or the longest that there is [MQTT-3.2.2-21], [MQTT-3.2.2-22].
    fn keep_alive_s(&self, connect: &Connect) -> u16 {
        let own_s = connect.keep_alive_s;
        match self.config.limits.keep_alive_s_max {
            Some(max) if connect.version == ProtocolVersion::V5 && (own_s == 0 || own_s > max.get()) => {
                max.get()
            }
            Some(_) | None => own_s,
        }
    }

    /// With the last word of an exchange, if there was one.
    fn connack(
        &self,
        connect: &Connect,
        device: &DeviceId,
        session_present: bool,
        last: Option<Secret>,
    ) -> Connack {
        let limits = &self.config.limits;
        let wished_s = expiry_wished_s(connect);
        let expiry = self.expiry_granted(wished_s);
        // [MQTT-3.1.2-28]
        let wants_response = connect.properties.request_response_information == Some(true);
        let response = self.config.hints.response_information.as_ref().filter(|_| wants_response);
        let keep_alive_s = self.keep_alive_s(connect);
        let granted_s = u32::try_from(expiry.as_secs()).unwrap_or(u32::MAX);
        let properties = ConnackProperties {
            session_expiry_interval_s: (granted_s != wished_s).then_some(granted_s),
            receive_maximum: Some(limits.receive_maximum),
            maximum_packet_size: NonZeroU32::new(limits.decode.packet_bytes_max),
            assigned_client_id: connect
                .client_id
                .is_empty()
                .then(|| Text::parse(device.as_str()).expect("an id is a valid MQTT string")),
            topic_alias_maximum: Some(limits.topic_alias_maximum),
            response_information: response
                .map(|it| Text::parse(it.of(device)).expect("an id in a topic is a valid MQTT string")),
            server_keep_alive_s: (keep_alive_s != connect.keep_alive_s).then_some(keep_alive_s),
            // CONNECT's, and none where that has none [MQTT-4.12.0-5], [MQTT-4.12.0-6].
            authentication_method: connect.properties.authentication_method.clone(),
            authentication_data: last,
            ..ConnackProperties::default()
        };
        Connack { session_present, reason: ReasonCode::Success, properties: Some(Box::new(properties)) }
    }
}

/// For how long a client wants its session to outlive the connection, in seconds.
fn expiry_wished_s(connect: &Connect) -> u32 {
    match connect.version {
        ProtocolVersion::V5 => connect.properties.session_expiry_interval_s.unwrap_or(0),
        // A session that is not clean is kept for as long as any.
        ProtocolVersion::V31 | ProtocolVersion::V311 if connect.clean_start => 0,
        ProtocolVersion::V31 | ProtocolVersion::V311 => u32::MAX,
    }
}

/// More than any CONNACK takes: its numbers, an assigned client id, Response Information and the last word of an authentication.
const CONNACK_BYTES_MAX: u32 = 1024;

/// 2^64 divided by the golden ratio: steps that never repeat.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// SplitMix64's finish: one draw for each input, none related to the next.
fn scramble(x: u64) -> u64 {
    let x = (x ^ x >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ x >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ x >> 31
}
