//! A CONNECT is answered: a session is found or made, or the client is refused with the reason.

use std::num::NonZeroU32;
use std::time::Duration;

use roost_wire::{Device, DeviceId, Now, Sighting, Tenant};

use super::close::Farewell;
use super::connection::{Client, Connection};
use super::{HandOver, Output, Shard, TimerFor};
use crate::link::FromShard;
use crate::packet::{
    Connack, ConnackProperties, Connect, Encoder, Packet, ProtocolVersion, QoS, ReasonCode, Text,
};
use crate::session::{Pending, Session, SessionKey};
use crate::{ConnectionId, Count, Notice};

/// Why a CONNECT is refused.
pub(super) struct Refused {
    count: Count,
    reason: ReasonCode,
    text: &'static str,
}

impl Shard {
    pub(super) fn connect(&mut self, now: Now, id: ConnectionId, connect: Connect) {
        let device = match self.check_connect(&connect).and_then(|()| self.device(id, &connect)) {
            Ok(device) => device,
            Err(refused) => return self.refuse(now, id, &connect, refused),
        };
        if !self.config.placement.holds(&device) {
            return self.hand_over(id, connect, &device);
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
            if let Some(session) = self.sessions.get_mut(&key).filter(|_| was_connected) {
                session.left_in = entered_in;
            }
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
        if let Some(session) = self.sessions.get_mut(&key).filter(|_| !session_present) {
            let may_have_roamed =
                !self.config.limits.session_transfer.is_zero() && self.turn.roams != Some(false);
            session.is_untold = may_have_roamed && !connect.clean_start;
        }
        self.accept(now, id, connect, key, session_present);
    }

    pub(super) fn handed_over(&mut self, now: Now, from: HandOver) {
        let HandOver { connection: id, decoder, connect, unread, opened_at, entropy } = from;
        let mut connection = Connection::new(opened_at, entropy, self.config.limits.decode);
        connection.decoder = decoder;
        connection.unread = unread;
        self.connections.insert(id, connection);
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
        if connect.properties.authentication_method.is_some() {
            return Err(Refused {
                count: Count::RefusedAuthMethod,
                reason: ReasonCode::BadAuthenticationMethod,
                text: "no extended authentication method is supported",
            });
        }
        if connect.will.is_some() {
            return Err(Refused {
                count: Count::RefusedWill,
                reason: ReasonCode::ImplementationSpecificError,
                text: "will messages are not supported yet; connect without one",
            });
        }
        Ok(())
    }

    /// The device that connects. Credentials are not read: this listener is anonymous.
    fn device(&self, id: ConnectionId, connect: &Connect) -> Result<Device, Refused> {
        let refused = |text| Refused {
            count: Count::RefusedClientId,
            reason: ReasonCode::ClientIdentifierNotValid,
            text,
        };
        if connect.client_id.is_empty() {
            // [MQTT-3.1.3-8]
            if connect.version == ProtocolVersion::V311 && !connect.clean_start {
                return Err(refused("an empty client identifier needs a clean session"));
            }
            let entropy = self.connections.get(&id).map_or(0, |connection| connection.entropy);
            return Ok(self.assigned_device(entropy));
        }
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

    pub(super) fn refuse(&mut self, now: Now, id: ConnectionId, connect: &Connect, refused: Refused) {
        let farewell = Farewell::Connack(connect.version, refused.reason, Some(refused.text));
        let device = DeviceId::parse(&connect.client_id).ok().map(|id| Device::new(Tenant::default(), id));
        self.close_saying(now, id, Notice::Refused { device, why: refused.count }, farewell);
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
        let Connection { decoder, unread, opened_at, entropy, .. } = connection;
        let hand_over = Box::new(HandOver { connection: id, decoder, connect, unread, opened_at, entropy });
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
            self.end_session(key, Count::SessionClean);
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
        let limits = &self.config.limits;
        let wished_s = match connect.version {
            ProtocolVersion::V5 => connect.properties.session_expiry_interval_s.unwrap_or(0),
            // A session that is not clean is kept for as long as any.
            ProtocolVersion::V311 if connect.clean_start => 0,
            ProtocolVersion::V311 => u32::MAX,
        };
        let expiry = self.expiry_granted(wished_s);
        let inflight_max = connect.properties.receive_maximum.map_or(u16::MAX, |max| max.get());
        let encoder = Encoder::for_client(connect);
        let client = Client {
            session: key,
            encoder,
            silence_max: (connect.keep_alive_s > 0)
                .then(|| Duration::from_millis(u64::from(connect.keep_alive_s) * 1_500)),
            heard_at: now.boot,
            window: usize::from(inflight_max.min(limits.inflight_max.get())),
            asked_for_expiry: wished_s > 0,
            pending: Pending::default(),
            parked: std::collections::VecDeque::new(),
            parked_bytes: 0,
            waits_for: None,
            woken_by: None,
        };
        let session_id = self.config.placement.session(self.next_session);
        self.next_session += 1;
        let Some(session) = self.sessions.get_mut(&key) else { return };
        session.renumber(session_id, now.boot);
        session.entered_in = self.turn.era;
        session.connection = Some(id);
        session.expiry = expiry;
        session.expires_at = None;
        let assigned = connect.client_id.is_empty().then(|| session.device.id.clone());
        let present = session.present();
        let connected = Notice::Connected { device: session.device.clone(), session: session_id };
        self.outputs.push_back(Output::Notice(Box::new(connected)));
        self.timers.cancel(TimerFor::Session(key));
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.client = Some(Box::new(client));
        }
        self.connected += 1;
        self.count(Count::Connected);
        let connack = self.connack(session_present, wished_s, expiry, assigned);
        self.send(now, id, &Packet::Connack(connack));
        self.tell_link(FromShard::Sighting(Sighting::Accepted(present)));
        self.pump(now, id);
        self.arm(id);
    }

    fn connack(
        &self,
        session_present: bool,
        wished_s: u32,
        expiry: Duration,
        assigned: Option<DeviceId>,
    ) -> Connack {
        let limits = &self.config.limits;
        let granted_s = u32::try_from(expiry.as_secs()).unwrap_or(u32::MAX);
        let properties = ConnackProperties {
            session_expiry_interval_s: (granted_s != wished_s).then_some(granted_s),
            receive_maximum: Some(limits.receive_maximum),
            maximum_qos: Some(QoS::AtLeastOnce),
            retain_available: Some(false),
            maximum_packet_size: NonZeroU32::new(limits.decode.packet_bytes_max),
            assigned_client_id: assigned
                .map(|id| Text::parse(id.as_str()).expect("an id is a valid MQTT string")),
            topic_alias_maximum: Some(0),
            shared_subscription_available: Some(false),
            ..ConnackProperties::default()
        };
        Connack { session_present, reason: ReasonCode::Success, properties: Some(Box::new(properties)) }
    }
}

/// 2^64 divided by the golden ratio: steps that never repeat.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// SplitMix64's finish: one draw for each input, none related to the next.
fn scramble(x: u64) -> u64 {
    let x = (x ^ x >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ x >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ x >> 31
}
