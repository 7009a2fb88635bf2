//! Who may log in, and what the client said about itself.

use super::nesting::table_is_bounded;
use amq_protocol::types::parsing::parse_field_table;
use amq_protocol::types::{AMQPValue, FieldTable, LongString};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// A password. It does not print.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes the text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Compares in a time that depends on the lengths only.
    fn equals(&self, other: &[u8]) -> bool {
        let own = self.0.as_bytes();
        let difference = own.iter().zip(other).fold(0, |sum, (one, two)| sum | (one ^ two));
        own.len() == other.len() && difference == 0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

/// The users and their passwords. The user `guest` may log in from loopback addresses only, as in RabbitMQ.
#[derive(Clone, Debug)]
pub struct Users(Vec<(String, Secret)>);

impl Users {
    /// These users.
    pub fn new(users: Vec<(String, Secret)>) -> Self {
        Self(users)
    }

    /// The user that the response to a mechanism proves, if it proves one.
    pub(super) fn authenticate(
        &self,
        mechanism: &str,
        response: &[u8],
        peer: IpAddr,
    ) -> Result<Arc<str>, String> {
        let refused = |user: &str| {
            Err(format!("Login was refused using authentication mechanism {mechanism} for user '{user}'"))
        };
        let claim = match mechanism {
            "PLAIN" => plain(response),
            "AMQPLAIN" => amqplain(response),
            _ => return Err(format!("unsupported authentication mechanism '{mechanism}'")),
        };
        let Some((user, password)) = claim else { return refused("") };
        let known = self.0.iter().any(|(name, secret)| *name == user && secret.equals(&password));
        let allowed_here = user != "guest" || peer.to_canonical().is_loopback();
        if known && allowed_here { Ok(user.into()) } else { refused(&user) }
    }
}

fn plain(response: &[u8]) -> Option<(String, Vec<u8>)> {
    // An authorisation identity before the first NUL is allowed and not used.
    let mut parts = response.split(|byte| *byte == 0).skip(1);
    let user = String::from_utf8(parts.next()?.to_vec()).ok()?;
    let password = parts.next()?.to_vec();
    parts.next().is_none().then_some((user, password))
}

fn amqplain(response: &[u8]) -> Option<(String, Vec<u8>)> {
    let mut table = u32::try_from(response.len()).ok()?.to_be_bytes().to_vec();
    table.extend_from_slice(response);
    if !table_is_bounded(&table) {
        return None;
    }
    let (_, table) = parse_field_table(&table[..]).ok()?;
    let text = |name: &str| match table.inner().get(name) {
        Some(AMQPValue::LongString(text)) => Some(text.as_bytes().to_vec()),
        Some(_) | None => None,
    };
    Some((String::from_utf8(text("LOGIN")?).ok()?, text("PASSWORD")?))
}

/// What the client's properties say it understands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Capabilities {
    pub(super) authentication_failure_close: bool,
    pub(super) connection_blocked: bool,
    pub(super) consumer_cancel_notify: bool,
}

impl Capabilities {
    pub(super) fn read(properties: &FieldTable) -> Self {
        let Some(AMQPValue::FieldTable(table)) = properties.inner().get("capabilities") else {
            return Self::default();
        };
        let has = |name: &str| table.inner().get(name) == Some(&AMQPValue::Boolean(true));
        Self {
            authentication_failure_close: has("authentication_failure_close"),
            connection_blocked: has("connection.blocked"),
            consumer_cancel_notify: has("consumer_cancel_notify"),
        }
    }
}

/// What the broker says about itself in `connection.start`.
pub(super) fn server_properties() -> FieldTable {
    let mut capabilities = FieldTable::default();
    for (name, has) in [
        ("publisher_confirms", true),
        ("basic.nack", true),
        ("consumer_cancel_notify", true),
        ("exchange_exchange_bindings", false),
        ("per_consumer_qos", true),
        ("authentication_failure_close", true),
        ("connection.blocked", true),
    ] {
        capabilities.insert(name.into(), AMQPValue::Boolean(has));
    }
    let mut properties = FieldTable::default();
    for (name, value) in [
        ("product", "Roost"),
        ("version", env!("CARGO_PKG_VERSION")),
        ("platform", "Rust"),
        ("information", "embedded AMQP 0-9-1 broker of the Roost mesh"),
    ] {
        properties.insert(name.into(), AMQPValue::LongString(LongString::from(value)));
    }
    properties.insert("capabilities".into(), AMQPValue::FieldTable(capabilities));
    properties
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users() -> Users {
        let pairs = [("guest", "guest"), ("eu-1", "pass word")];
        Users::new(pairs.map(|(user, password)| (user.to_owned(), Secret::new(password))).into())
    }

    #[test]
    fn logins_are_checked() {
        let home: IpAddr = "127.0.0.1".parse().unwrap();
        let mapped: IpAddr = "::ffff:127.0.0.9".parse().unwrap();
        let away: IpAddr = "192.0.2.1".parse().unwrap();
        let amqplain = b"\x05LOGINS\0\0\0\x05guest\x08PASSWORDS\0\0\0\x05guest";
        for (mechanism, response, peer, user) in [
            ("PLAIN", &b"\0guest\0guest"[..], home, Some("guest")),
            ("PLAIN", b"\0guest\0guest", mapped, Some("guest")),
            ("PLAIN", b"\0guest\0guest", away, None),
            ("PLAIN", b"\0eu-1\0pass word", away, Some("eu-1")),
            ("PLAIN", b"\0eu-1\0pass wor", away, None),
            ("PLAIN", b"\0eu-1\0", away, None),
            ("PLAIN", b"guest", home, None),
            ("PLAIN", b"", home, None),
            ("PLAIN", b"\0guest\0guest\0", home, None),
            ("AMQPLAIN", amqplain, home, Some("guest")),
            ("AMQPLAIN", &amqplain[..20], home, None),
            ("EXTERNAL", b"", home, None),
        ] {
            let result = users().authenticate(mechanism, response, peer);
            assert_eq!(result.as_deref().ok(), user, "{mechanism} {response:?} {peer}");
        }
    }

    #[test]
    fn a_secret_does_not_print() {
        assert!(!format!("{:?}", users()).contains("pass word"));
    }
}
