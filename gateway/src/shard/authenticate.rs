//! Enhanced authentication [MQTT5 §4.12]: before a CONNECT is answered, and again while its client is connected.
//!
//! ```text
//!            CONNECT, no method, anonymous ───────────────────────────────┐
//!                                                                         v
//!  opened ──CONNECT with a method──> authenticating ──it is shown──> login ──CONNACK──> connected
//!                                     │  ^ AUTH 0x18                                     │  ^ AUTH 0x19, 0x18
//!                                     └──┘                                               └──┘
//! ```
//!
//! An exchange has an end: its machine takes as many messages as its method has, and the time of the first one is the connect timeout, of a
//! later one [`crate::Limits::reauthentication_timeout`]. Until CONNACK a packet has
//! [`DecodeLimits::auth_bytes_max`] at most, and nothing of the device's is touched: neither its session nor its older connection.

use bytes::BytesMut;
use roost_wire::{BootTime, Device, DeviceId, Now, Tenant};

use super::Shard;
use super::close::Farewell;
use super::connect::Refused;
use super::connection::Client;
use crate::authentication::{Exchange, NonceSeed, Refusal, Step, UserName};
use crate::packet::{
    Auth, AuthProperties, BinaryData, Connect, DecodeLimits, Decoder, Encoder, Packet, ProtocolVersion,
    ReasonCode, Secret, Text,
};
use crate::{ConnectionId, Count, Notice};

/// A CONNECT whose client has not shown yet who it is.
#[derive(Debug)]
pub(super) struct Authenticating {
    exchange: Exchange,
    connect: Connect,
}

/// Who a client has shown to be.
#[derive(Debug)]
pub(super) struct Login {
    user: UserName,
    method: Text,
    /// The last word of the exchange, until CONNACK carries it.
    pub(super) last: Option<Secret>,
    /// The client shows it again, and has not finished.
    again: Option<Again>,
}

#[derive(Debug)]
struct Again {
    exchange: Exchange,
    began: BootTime,
}

/// Why a login is refused, as counted: the first of a connection, and a later one.
struct Why {
    first: Count,
    later: Count,
}

const TOO_SLOW: &str = "the authentication took too long";

impl Shard {
    /// Gives a CONNECT back whose client may go on; otherwise it is refused, or asked for more and waits. A CONNECT that waited for
    /// something else since is let through again.
    pub(super) fn admit(&mut self, now: Now, id: ConnectionId, mut connect: Connect) -> Option<Connect> {
        let connection = self.connections.get(&id)?;
        if connection.login.is_some() {
            return Some(connect);
        }
        let Some(method) = connect.properties.authentication_method.clone() else {
            if self.config.authentication.anonymous {
                return Some(connect);
            }
            let text = "name an authentication method: nobody is let in here without one";
            self.refuse_login(
                now,
                id,
                &connect,
                (Count::RefusedAnonymous, ReasonCode::NotAuthorized),
                text,
                None,
            );
            return None;
        };
        let seed = self.nonce_seed(id);
        // `check_connect` has refused a method that is not known.
        let exchange = self.config.authentication.begin(&method, seed)?;
        let message = connect.properties.authentication_data.take();
        self.take_step(now, id, Authenticating { exchange, connect }, message.as_ref())
    }

    /// An AUTH has come, in whatever state the connection is.
    pub(super) fn auth(&mut self, now: Now, id: ConnectionId, auth: &Auth) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        match (connection.authenticating.take(), &connection.client) {
            (Some(authenticating), _) => self.continue_login(now, id, *authenticating, auth),
            (None, Some(client)) if client.login.is_some() => self.authenticate_again(now, id, auth),
            // Without a method in CONNECT there is no AUTH [MQTT-4.12.0-7].
            (None, _) => self.close_protocol(now, id),
        }
    }

    /// The client's answer to the AUTH that asked for it [MQTT-4.12.0-3].
    fn continue_login(&mut self, now: Now, id: ConnectionId, authenticating: Authenticating, auth: &Auth) {
        let method = authenticating.connect.properties.authentication_method.as_ref();
        // The method is CONNECT's in every AUTH [MQTT-4.12.0-5].
        if auth.reason != ReasonCode::ContinueAuthentication || auth.method() != method {
            return self.refuse_protocol(now, id, &authenticating);
        }
        if let Some(connect) = self.take_step(now, id, authenticating, auth.data()) {
            self.connect(now, id, connect);
        }
    }

    /// Something else than AUTH and DISCONNECT has come before CONNACK [MQTT-3.1.2-30]. False if the connection is in no exchange.
    pub(super) fn refuse_packet_of_login(&mut self, now: Now, id: ConnectionId, packet: &Packet) -> bool {
        if matches!(packet, Packet::Auth(_) | Packet::Disconnect(_)) {
            return false;
        }
        let authenticating =
            self.connections.get_mut(&id).and_then(|connection| connection.authenticating.take());
        if let Some(authenticating) = &authenticating {
            self.refuse_protocol(now, id, authenticating);
        }
        authenticating.is_some()
    }

    fn refuse_protocol(&mut self, now: Now, id: ConnectionId, authenticating: &Authenticating) {
        let text = "until CONNACK there is only AUTH 0x18 with the method of CONNECT";
        let why = (Count::RefusedAuthProtocol, ReasonCode::ProtocolError);
        self.refuse_login(now, id, &authenticating.connect, why, text, None);
    }

    /// Gives the CONNECT back if its client has shown who it is.
    fn take_step(
        &mut self,
        now: Now,
        id: ConnectionId,
        mut authenticating: Authenticating,
        message: Option<&Secret>,
    ) -> Option<Connect> {
        match authenticating.exchange.handle(exposed(message)) {
            Step::Continue(data) => {
                self.ask_on(now, id, authenticating, data);
                None
            }
            Step::Done { user, last } => {
                let Authenticating { connect, .. } = authenticating;
                let method = connect.properties.authentication_method.clone()?.detached();
                let connection = self.connections.get_mut(&id)?;
                connection.decoder.authenticating(false);
                connection.login =
                    Some(Box::new(Login { user, method, last: Some(secret(last)), again: None }));
                Some(connect)
            }
            Step::Refused { refusal, user } => {
                let why = (why(refusal).first, ReasonCode::NotAuthorized);
                self.refuse_login(now, id, &authenticating.connect, why, refusal.text(), user);
                None
            }
        }
    }

    /// Asks for more, with AUTH 0x18 [MQTT-4.12.0-2].
    fn ask_on(&mut self, now: Now, id: ConnectionId, authenticating: Authenticating, data: Vec<u8>) {
        let Authenticating { exchange, connect } = authenticating;
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let encoder = Encoder::for_client(&connect);
        let method = connect.properties.authentication_method.clone();
        let auth = auth_packet(ReasonCode::ContinueAuthentication, method, data);
        if !connection.outgoing.packet(&mut self.buffers, now.boot, encoder, &auth) {
            return self.refuse(
                now,
                id,
                &connect,
                Refused::packet_size("the maximum packet size is less than what AUTH takes"),
            );
        }
        connection.decoder.authenticating(true);
        let connect = detached(connect);
        connection.authenticating = Some(Box::new(Authenticating { exchange, connect }));
        self.has_output(id);
    }

    /// A client that has shown who it is does so again. Its other packets go on meanwhile, as what it has been until now [MQTT5 §4.12.1].
    fn authenticate_again(&mut self, now: Now, id: ConnectionId, auth: &Auth) {
        let seed = self.nonce_seed(id);
        let Some(login) = self.login_of(id) else { return };
        let (method, own_user) = (login.method.clone(), login.user.clone());
        // The method is that of CONNECT [MQTT-4.12.0-5], [MQTT-4.12.1-1], and there is one exchange at a time.
        let again = match (login.again.take(), auth.reason) {
            _ if auth.method() != Some(&method) => None,
            (None, ReasonCode::ReAuthenticate) => {
                let exchange = self.config.authentication.begin(&method, seed);
                exchange.map(|exchange| Again { exchange, began: now.boot })
            }
            (Some(again), ReasonCode::ContinueAuthentication) => Some(again),
            _ => None,
        };
        let Some(mut again) = again else { return self.close_protocol(now, id) };
        let (reason, data) = match again.exchange.handle(exposed(auth.data())) {
            Step::Continue(data) => {
                if let Some(login) = self.login_of(id) {
                    login.again = Some(again);
                }
                (ReasonCode::ContinueAuthentication, data)
            }
            Step::Done { user, last } if user == own_user => {
                self.count(Count::AuthenticatedAgain);
                (ReasonCode::Success, last)
            }
            // The session and all that is on its way in it are the first one's.
            Step::Done { user, .. } => {
                let text = "a connection stays that of the user who opened it";
                return self.end_login(now, id, Count::ClosedReauthOtherUser, text, Some(user));
            }
            Step::Refused { refusal, user } => {
                return self.end_login(now, id, why(refusal).later, refusal.text(), user);
            }
        };
        self.send(now, id, &auth_packet(reason, Some(method), data));
        self.arm(id);
    }

    /// When a client must have shown again who it is.
    pub(super) fn reauthentication_due(&self, client: &Client) -> Option<BootTime> {
        let again = client.login.as_ref()?.again.as_ref()?;
        Some(again.began + self.config.limits.reauthentication_timeout)
    }

    pub(super) fn reauthentication_overdue(&mut self, now: Now, id: ConnectionId) {
        self.end_login(now, id, Count::ClosedReauthTimeout, TOO_SLOW, None);
    }

    /// No CONNECT has come in time, or it has and its client has not shown who it is.
    pub(super) fn connect_overdue(&mut self, now: Now, id: ConnectionId) {
        let authenticating =
            self.connections.get_mut(&id).and_then(|connection| connection.authenticating.take());
        match authenticating {
            Some(authenticating) => {
                let why = (Count::RefusedAuthTimeout, ReasonCode::NotAuthorized);
                self.refuse_login(now, id, &authenticating.connect, why, TOO_SLOW, None);
            }
            None => self.close(now, id, Count::RefusedTimeout, Farewell::None),
        }
    }

    /// Says no to a CONNECT, and why as far as its client may know, and closes [MQTT-4.12.0-4].
    fn refuse_login(
        &mut self,
        now: Now,
        id: ConnectionId,
        connect: &Connect,
        (why, reason): (Count, ReasonCode),
        text: &'static str,
        user: Option<UserName>,
    ) {
        let device = DeviceId::parse(&connect.client_id).ok().map(|id| Device::new(Tenant::default(), id));
        let farewell = Farewell::Connack(Encoder::for_client(connect), reason, Some(text));
        self.close_saying(now, id, Notice::LoginRefused { connection: id, device, user, why }, farewell);
    }

    /// Ends the connection of a client that could not show again who it is [MQTT-4.12.1-2]; its session goes on as after any connection.
    fn end_login(
        &mut self,
        now: Now,
        id: ConnectionId,
        why: Count,
        text: &'static str,
        user: Option<UserName>,
    ) {
        let device = self.device_of(id).cloned();
        let farewell = Farewell::DisconnectSaying(ReasonCode::NotAuthorized, text);
        self.close_saying(now, id, Notice::LoginRefused { connection: id, device, user, why }, farewell);
    }

    fn login_of(&mut self, id: ConnectionId) -> Option<&mut Login> {
        self.connections.get_mut(&id)?.client.as_mut()?.login.as_deref_mut()
    }

    /// What no other exchange has, of whatever shard and connection.
    fn nonce_seed(&mut self, id: ConnectionId) -> NonceSeed {
        let exchange = self.config.placement.sequence(self.next_exchange);
        self.next_exchange += 1;
        NonceSeed { exchange, entropy: self.connections.get(&id).map_or(0, |connection| connection.entropy) }
    }
}

/// How a refusal is counted.
const fn why(refusal: Refusal) -> Why {
    let (first, later) = match refusal {
        Refusal::Malformed(_) => (Count::RefusedAuthMalformed, Count::ClosedReauthMalformed),
        Refusal::ChannelBinding => (Count::RefusedAuthBinding, Count::ClosedReauthBinding),
        Refusal::OtherIdentity => (Count::RefusedAuthIdentity, Count::ClosedReauthIdentity),
        Refusal::UnknownUser => (Count::RefusedAuthUser, Count::ClosedReauthUser),
        Refusal::WrongPassword => (Count::RefusedAuthPassword, Count::ClosedReauthPassword),
    };
    Why { first, later }
}

fn auth_packet(reason: ReasonCode, method: Option<Text>, data: Vec<u8>) -> Packet {
    let properties = AuthProperties {
        authentication_method: method,
        authentication_data: Some(secret(data)),
        ..AuthProperties::default()
    };
    Packet::Auth(Auth { reason, properties: Some(Box::new(properties)) })
}

fn secret(data: Vec<u8>) -> Secret {
    Secret::new(BinaryData::parse(data).expect("what an exchange says is shorter than 64 KiB"))
}

/// A message that is left out is an empty one: none of the methods has such a message, so it is refused as malformed.
fn exposed(message: Option<&Secret>) -> &[u8] {
    message.map_or(&[], |message| message.expose())
}

/// The same in memory of its own: the buffer that it was read into is free again while its client thinks.
fn detached(connect: Connect) -> Connect {
    let packet = Packet::Connect(Box::new(connect.clone()));
    let mut bytes = BytesMut::new();
    let is_written = Encoder::new(ProtocolVersion::V5).encode(&packet, &mut bytes).is_ok();
    match Decoder::for_server(DecodeLimits::default()).decode(&mut bytes) {
        Ok(Some(Packet::Connect(own))) if is_written => *own,
        // It was decoded a moment ago, so this is not to be; it costs memory and nothing else.
        _ => connect,
    }
}
