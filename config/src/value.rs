//! What a value has to look like to be a number, a time, an address.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::document::Node;

/// A name of the greatest length, or a few shorter ones.
const SERVER_REFERENCE_BYTES_MAX: usize = 300;

/// Text that is not empty.
pub(crate) fn text(node: &Node) -> Result<String, String> {
    match node {
        Node::Text(text) if !text.is_empty() => Ok(text.clone()),
        Node::Text(_) => Err("is empty".to_owned()),
        Node::Int(_) | Node::Float(_) | Node::Bool(_) => {
            Err(format!("expected text, found {}; put it in quotes", node.kind()))
        }
        Node::Null | Node::List(_) | Node::Map(_) => Err(format!("expected text, found {}", node.kind())),
    }
}

/// Text that a type of its own reads.
pub(crate) fn parsed<T: FromStr>(node: &Node) -> Result<T, String>
where
    T::Err: std::fmt::Display,
{
    text(node)?.parse().map_err(|error: T::Err| error.to_string())
}

/// A whole number within bounds.
pub(crate) fn whole<T>(range: RangeInclusive<T>) -> impl Fn(&Node) -> Result<T, String>
where
    T: TryFrom<i64> + PartialOrd + std::fmt::Display + Copy,
{
    move |node| {
        let Node::Int(number) = node else {
            return Err(format!("expected a whole number, found {}", node.kind()));
        };
        match T::try_from(*number) {
            Ok(number) if range.contains(&number) => Ok(number),
            _ => Err(format!("{number} is not in {} to {}", range.start(), range.end())),
        }
    }
}

/// A time as whole seconds within bounds: keys that end in `_s`.
pub(crate) fn seconds(range: RangeInclusive<u64>) -> impl Fn(&Node) -> Result<Duration, String> {
    move |node| whole(range.clone())(node).map(Duration::from_secs)
}

/// A time as whole milliseconds within bounds: keys that end in `_ms`.
pub(crate) fn milliseconds(range: RangeInclusive<u64>) -> impl Fn(&Node) -> Result<Duration, String> {
    move |node| whole(range.clone())(node).map(Duration::from_millis)
}

/// `IP:PORT`.
pub(crate) fn address(node: &Node) -> Result<SocketAddr, String> {
    let text = text(node)?;
    text.parse().map_err(|_| format!("{text:?} is not IP:PORT, for example 127.0.0.1:1883 or [::1]:1883"))
}

/// `HOST:PORT`, one or several with a space between them [MQTT5 §4.11].
pub(crate) fn server_reference(node: &Node) -> Result<String, String> {
    let text = text(node)?;
    let is_server = |server: &str| {
        server.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty()
                && !host.contains(char::is_control)
                && port.parse::<u16>().is_ok_and(|port| port > 0)
        })
    };
    match text.len() <= SERVER_REFERENCE_BYTES_MAX && text.split(' ').all(is_server) {
        true => Ok(text),
        false => Err(format!("{text:?} is not HOST:PORT, or several with one space between them")),
    }
}

/// `IP:PORT` that nobody outside this machine reaches.
pub(crate) fn loopback_address(node: &Node) -> Result<SocketAddr, String> {
    let address = address(node)?;
    match address.ip().is_loopback() {
        true => Ok(address),
        false => Err(format!(
            "{address} is not loopback; HTTP asks for no token yet, so only 127.0.0.1 and [::1] are allowed"
        )),
    }
}

/// `true` or `false`.
pub(crate) fn boolean(node: &Node) -> Result<bool, String> {
    match node {
        Node::Bool(value) => Ok(*value),
        Node::Text(_) | Node::Int(_) | Node::Float(_) | Node::Null | Node::List(_) | Node::Map(_) => {
            Err(format!("expected true or false, found {}", node.kind()))
        }
    }
}

/// A path, as it is written: a relative one begins where the process was started.
pub(crate) fn path(node: &Node) -> Result<PathBuf, String> {
    text(node).map(PathBuf::from)
}

/// One of a few words.
pub(crate) fn choice<T: Copy>(words: &'static [(&'static str, T)]) -> impl Fn(&Node) -> Result<T, String> {
    move |node| {
        let text = text(node)?;
        words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            format!("{text:?} is not one of {}", words.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Node {
        Node::Text(text.to_owned())
    }

    #[test]
    fn what_a_value_cannot_be_is_said() {
        let cases = [
            (text(&Node::Int(5)).unwrap_err(), "expected text, found a number; put it in quotes"),
            (text(&words("")).unwrap_err(), "is empty"),
            (whole(1_u16..=9)(&words("5")).unwrap_err(), "expected a whole number, found text"),
            (whole(1_u16..=9)(&Node::Int(70_000)).unwrap_err(), "70000 is not in 1 to 9"),
            (whole(1_u16..=9)(&Node::Int(-1)).unwrap_err(), "-1 is not in 1 to 9"),
            (
                address(&words("localhost:1")).unwrap_err(),
                r#""localhost:1" is not IP:PORT, for example 127.0.0.1:1883 or [::1]:1883"#,
            ),
            (
                loopback_address(&words("0.0.0.0:80")).unwrap_err(),
                "0.0.0.0:80 is not loopback; HTTP asks for no token yet, so only 127.0.0.1 and [::1] are allowed",
            ),
            (
                server_reference(&words("us.example.org")).unwrap_err(),
                r#""us.example.org" is not HOST:PORT, or several with one space between them"#,
            ),
            (choice(&[("a", 1), ("b", 2)])(&words("c")).unwrap_err(), r#""c" is not one of a, b"#),
        ];
        for (said, expected) in cases {
            assert_eq!(said, expected);
        }
    }

    #[test]
    fn good_values_are_read() {
        assert_eq!(seconds(0..=60)(&Node::Int(3)), Ok(Duration::from_secs(3)));
        assert_eq!(loopback_address(&words("[::1]:80")), Ok("[::1]:80".parse().unwrap()));
        let two = "us.example.org:1883 [2001:db8::1]:8883";
        assert_eq!(server_reference(&words(two)), Ok(two.to_owned()));
        assert_eq!(choice(&[("a", 1), ("b", 2)])(&words("b")), Ok(2));
        assert_eq!(parsed::<roost_wire::GatewayId>(&words("eu-1")), Ok("eu-1".parse().unwrap()));
    }
}
