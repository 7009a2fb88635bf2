//! Clients that log in: SCRAM-SHA-256 as RFC 5802 has it for a client, told by nothing of the gateway's own.

use std::num::NonZeroU32;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, hmac, pbkdf2};

use super::*;
use crate::Authentication;
use crate::authentication::scram::{Users, Verifier};
use crate::authentication::{Scram, ServerSecret};
use crate::packet::{Auth, AuthProperties, BinaryData, Secret};

const METHOD: &str = "SCRAM-SHA-256";

/// A client's side of an exchange.
pub(in crate::tests) struct ScramClient {
    password: String,
    pub(in crate::tests) header: String,
    bare: String,
    signed: String,
    server_key: Vec<u8>,
}

impl ScramClient {
    pub(in crate::tests) fn new(user: &str, password: &str) -> Self {
        let bare = format!("n={user},r=fyko+d2lbbFgONRvs9qLd");
        Self {
            password: password.to_owned(),
            header: "n,,".to_owned(),
            bare,
            signed: String::new(),
            server_key: Vec::new(),
        }
    }

    pub(in crate::tests) fn first(&self) -> Vec<u8> {
        format!("{}{}", self.header, self.bare).into_bytes()
    }

    pub(in crate::tests) fn last(&mut self, server_first: &[u8]) -> Vec<u8> {
        let server_first = std::str::from_utf8(server_first).unwrap();
        let mut parts = server_first.split(',').map(|part| &part[2..]);
        let [nonce, salt, iterations] = [(); 3].map(|()| parts.next().unwrap());
        let mut salted = [0; 32];
        let (rounds, salt) = (iterations.parse::<NonZeroU32>().unwrap(), STANDARD.decode(salt).unwrap());
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, self.password.as_bytes(), &mut salted);
        let client_key = sign(&salted, "Client Key");
        let stored_key = digest::digest(&digest::SHA256, &client_key);
        self.server_key = sign(&salted, "Server Key");
        let without_proof = format!("c={},r={nonce}", STANDARD.encode(&self.header));
        self.signed = format!("{},{server_first},{without_proof}", self.bare);
        let signature = sign(stored_key.as_ref(), &self.signed);
        let proof: Vec<u8> = client_key.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        format!("{without_proof},p={}", STANDARD.encode(proof)).into_bytes()
    }

    /// Whether the server knows the password too.
    pub(in crate::tests) fn trusts(&self, server_final: &[u8]) -> bool {
        server_final == format!("v={}", STANDARD.encode(sign(&self.server_key, &self.signed))).as_bytes()
    }
}

fn sign(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

/// `ann` with the password `apple`, and `bob` with `banana`.
pub(in crate::tests) fn users(anonymous: bool) -> Authentication {
    let line = |user: &str, password: &str| {
        let verifier = Verifier::of_password(password, format!("salt of {user}").as_bytes(), 4_096).unwrap();
        format!("{user}:{}\n", verifier.to_text())
    };
    let users = Users::parse(&(line("ann", "apple") + &line("bob", "banana"))).unwrap();
    Authentication { anonymous, scram: Some(Arc::new(Scram::new(users, ServerSecret::new([1; 32])))) }
}

/// A CONNECT with the first message of an exchange.
pub(in crate::tests) fn with_login(mut connect: Connect, first: &[u8]) -> Connect {
    connect.properties.authentication_method = Some(Text::from_static(METHOD));
    connect.properties.authentication_data = Some(secret(first));
    connect
}

pub(in crate::tests) fn auth_packet(reason: ReasonCode, data: &[u8]) -> Packet {
    auth_of(METHOD, reason, data)
}

pub(in crate::tests) fn auth_of(method: &str, reason: ReasonCode, data: &[u8]) -> Packet {
    let properties = AuthProperties {
        authentication_method: Some(Text::parse(method).unwrap()),
        authentication_data: Some(secret(data)),
        ..AuthProperties::default()
    };
    Packet::Auth(Auth { reason, properties: Some(Box::new(properties)) })
}

fn secret(data: &[u8]) -> Secret {
    Secret::new(BinaryData::parse(data.to_vec()).unwrap())
}

impl World {
    /// A gateway that lets [`users`] in, and others only if it says so.
    pub(in crate::tests) fn with_users(anonymous: bool) -> Self {
        Self::configured(|config| config.authentication = users(anonymous))
    }

    /// The same, with a router that moves sessions.
    pub(in crate::tests) fn roaming_with_users() -> Self {
        let world = Self::of(ShardConfig { authentication: users(false), ..shard_config() });
        Self::connected(Self { roams: true, ..world })
    }

    /// The data of the one AUTH that the client has read, which names the method.
    pub(in crate::tests) fn read_auth(&mut self, client: ConnectionId, reason: ReasonCode) -> Vec<u8> {
        let packets = self.read(client);
        let [Packet::Auth(auth)] = &packets[..] else { panic!("{packets:?} instead of AUTH") };
        assert_eq!((auth.reason, auth.method().map(Text::as_str)), (reason, Some(METHOD)));
        auth.data().unwrap().expose().to_vec()
    }

    /// Sends a CONNECT with a login, and answers what is asked.
    pub(in crate::tests) fn begin_login(
        &mut self,
        connect: Connect,
        login: &mut ScramClient,
    ) -> ConnectionId {
        let client = self.begin_connect(with_login(connect, &login.first()));
        let asked = self.read_auth(client, ReasonCode::ContinueAuthentication);
        let last = login.last(&asked);
        self.send(client, auth_packet(ReasonCode::ContinueAuthentication, &last));
        client
    }

    /// The one CONNACK that the client has read.
    pub(in crate::tests) fn read_connack(&mut self, client: ConnectionId) -> Connack {
        match &self.read(client)[..] {
            [Packet::Connack(connack)] => connack.clone(),
            other => panic!("{other:?} instead of CONNACK"),
        }
    }

    /// A client that has logged in, and to which the gateway has shown that it knows the password too.
    pub(in crate::tests) fn log_in(&mut self, connect: Connect, user: &str, password: &str) -> ConnectionId {
        let mut login = ScramClient::new(user, password);
        let client = self.begin_login(connect, &mut login);
        let connack = self.read_connack(client);
        assert_eq!(connack.reason, ReasonCode::Success);
        let properties = connack.properties.unwrap();
        assert_eq!(properties.authentication_method.as_deref(), Some(METHOD));
        assert!(login.trusts(properties.authentication_data.unwrap().expose()));
        client
    }
}
