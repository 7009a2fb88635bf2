//! Where the cluster is and who we are there: an `amqp://` URI, parsed.

use std::fmt;
use std::str::FromStr;

/// A parsed `amqp://user:password@host:port/vhost`, or `…@host:port,host:port/vhost` for the nodes of one cluster. What is left out
/// is RabbitMQ's default: user and password `guest`, port 5672, vhost `/` (also for an empty path). Neither `Display` nor `Debug`
/// shows the password.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct AmqpAddress {
    user: String,
    password: String,
    /// At least one.
    nodes: Vec<AmqpNode>,
    vhost: String,
}

/// Where one node of the cluster listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AmqpNode {
    /// Its name or address, an IPv6 one without its brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// Why a URI was refused. The configuration is at fault; nothing of the URI's user part is repeated here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not `amqp://`.
    #[error("an AMQP address begins with amqp://, this one does not")]
    Scheme,
    /// `amqps://`.
    #[error(
        "amqps:// is not supported yet: TLS to the cluster comes with a later version; use amqp:// on a private network"
    )]
    Tls,
    /// No host between the slashes.
    #[error("AMQP address has no host")]
    Host,
    /// Not a port. What stands there is not repeated: in an address whose host was forgotten it is the password.
    #[error("AMQP address has a port that is not a number from 1 to 65535; is its host missing?")]
    Port,
    /// A `%` that two hex digits do not follow, or bytes that are not UTF-8.
    #[error("AMQP address has a wrong % escape in its {part}")]
    Escape {
        /// In which part.
        part: &'static str,
    },
    /// `?…` or `#…`.
    #[error(
        "AMQP address has options behind ? or #: heartbeat, time-outs and the like are set in the configuration"
    )]
    Options,
    /// More nodes than anybody has.
    #[error("AMQP address has more than {NODES_MAX} nodes")]
    TooMany,
    /// Longer than AMQP's short string.
    #[error("AMQP address has a {part} of more than 255 bytes")]
    TooLong {
        /// Which part.
        part: &'static str,
    },
}

/// AMQP's port, as IANA assigned it.
const PORT: u16 = 5672;

/// A connection tries each of them before it waits; RabbitMQ advises against more than seven.
const NODES_MAX: usize = 16;

impl AmqpAddress {
    /// An address from its parts, none of them escaped.
    #[must_use]
    pub fn new(user: &str, password: &str, host: &str, port: u16, vhost: &str) -> Self {
        let own = str::to_owned;
        let nodes = vec![AmqpNode { host: own(host), port }];
        Self { user: own(user), password: own(password), nodes, vhost: own(vhost) }
    }

    /// The AMQP user: what `user_id` of every published message says.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The nodes of the cluster, in the order in which they were written; at least one.
    #[must_use]
    pub fn nodes(&self) -> &[AmqpNode] {
        &self.nodes
    }

    /// The virtual host.
    #[must_use]
    pub fn vhost(&self) -> &str {
        &self.vhost
    }

    /// The same cluster seen through another host and port, for example a proxy.
    #[must_use]
    pub fn through(&self, host: &str, port: u16) -> Self {
        Self { nodes: vec![AmqpNode { host: host.to_owned(), port }], ..self.clone() }
    }

    /// The whole URI with its password in the clear: for a file that only its owner reads.
    #[must_use]
    pub fn with_password(&self) -> String {
        let open = format!("amqp://{}:***@", escape(&self.user));
        let shut = format!("amqp://{}:{}@", escape(&self.user), escape(&self.password));
        self.to_string().replacen(&open, &shut, 1)
    }

    pub(crate) fn password(&self) -> &str {
        &self.password
    }
}

impl FromStr for AmqpAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (scheme, rest) = text.split_once("://").ok_or(AddressError::Scheme)?;
        match scheme.to_ascii_lowercase().as_str() {
            "amqp" => {}
            "amqps" => return Err(AddressError::Tls),
            _ => return Err(AddressError::Scheme),
        }
        if rest.contains(['?', '#']) {
            return Err(AddressError::Options);
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        // The last @: a password may hold one that was not escaped.
        let (credentials, place) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
        let address = Self {
            user: or_default(unescape(user, "user")?, "guest"),
            password: or_default(unescape(password, "password")?, "guest"),
            nodes: place.split(',').map(AmqpNode::from_str).collect::<Result<_, _>>()?,
            vhost: or_default(unescape(path, "vhost")?, "/"),
        };
        match &address {
            Self { nodes, .. } if nodes.len() > NODES_MAX => Err(AddressError::TooMany),
            Self { user, .. } if user.len() > 255 => Err(AddressError::TooLong { part: "user" }),
            Self { vhost, .. } if vhost.len() > 255 => Err(AddressError::TooLong { part: "vhost" }),
            _ => Ok(address),
        }
    }
}

/// The URI with `***` for the password.
impl fmt::Display for AmqpAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { user, nodes, vhost, .. } = self;
        write!(f, "amqp://{}:***@", escape(user))?;
        for (place, node) in nodes.iter().enumerate() {
            let comma = if place > 0 { "," } else { "" };
            write!(f, "{comma}{node}")?;
        }
        write!(f, "/{}", escape(vhost))
    }
}

impl fmt::Debug for AmqpAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AmqpAddress({self})")
    }
}

impl FromStr for AmqpNode {
    type Err = AddressError;

    fn from_str(place: &str) -> Result<Self, AddressError> {
        let (host, port) = split_port(place)?;
        let host = unescape(host, "host")?;
        if host.is_empty() { Err(AddressError::Host) } else { Ok(Self { host, port }) }
    }
}

impl fmt::Display for AmqpNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{open}{host}{close}:{port}")
    }
}

fn or_default(text: String, default: &str) -> String {
    if text.is_empty() { default.to_owned() } else { text }
}

/// `host`, `host:port`, `[v6]` or `[v6]:port`.
fn split_port(place: &str) -> Result<(&str, u16), AddressError> {
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => {
            let (host, behind) = rest.split_once(']').ok_or(AddressError::Host)?;
            let port = behind.strip_prefix(':');
            if port.is_none() && !behind.is_empty() {
                return Err(AddressError::Host);
            }
            (host, port)
        }
        None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
    };
    let Some(port) = port else { return Ok((host, PORT)) };
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.then(|| port.parse().ok()).flatten().filter(|number| *number > 0);
    number.map(|number| (host, number)).ok_or(AddressError::Port)
}

fn unescape(text: &str, part: &'static str) -> Result<String, AddressError> {
    let error = AddressError::Escape { part };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        let (Some(high), Some(low)) = (digit(rest.next()), digit(rest.next())) else { return Err(error) };
        bytes.push(u8::try_from(high * 16 + low).expect("two hex digits make a byte"));
    }
    String::from_utf8(bytes).map_err(|_| error)
}

fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                escaped.push(char::from(byte))
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (String, String, String, u16, String) {
        let a: AmqpAddress = text.parse().unwrap();
        let [AmqpNode { host, port }] = &a.nodes[..] else { panic!("not one node: {a}") };
        (a.user, a.password, host.clone(), *port, a.vhost)
    }

    #[test]
    fn an_address_is_read_with_rabbitmqs_defaults() {
        let table = [
            ("amqp://localhost", ("guest", "guest", "localhost", 5672, "/")),
            ("amqp://localhost/", ("guest", "guest", "localhost", 5672, "/")),
            ("AMQP://h:1/%2F", ("guest", "guest", "h", 1, "/")),
            ("amqp://eu-1:p%40ss@10.0.0.1:25672/mesh", ("eu-1", "p@ss", "10.0.0.1", 25672, "mesh")),
            ("amqp://u:a@b@h", ("u", "a@b", "h", 5672, "/")),
            ("amqp://u:p@[::1]:5673/v", ("u", "p", "::1", 5673, "v")),
            ("amqp://[fe80::1]", ("guest", "guest", "fe80::1", 5672, "/")),
        ];
        for (text, (user, password, host, port, vhost)) in table {
            let expected = (user.into(), password.into(), host.into(), port, vhost.into());
            assert_eq!(parts(text), expected, "{text}");
        }
    }

    #[test]
    fn the_nodes_of_a_cluster_are_read_in_their_order() {
        let text = "amqp://eu-1:sesame@rabbit-1,[::1]:5673,10.0.0.3:25672/mesh";
        let address: AmqpAddress = text.parse().unwrap();
        let node = |host: &str, port| AmqpNode { host: host.to_owned(), port };
        assert_eq!(address.nodes(), [node("rabbit-1", 5672), node("::1", 5673), node("10.0.0.3", 25672)]);
        assert_eq!(address.to_string(), "amqp://eu-1:***@rabbit-1:5672,[::1]:5673,10.0.0.3:25672/mesh");
        assert_eq!(address.with_password().parse(), Ok(address));
        let many = format!("amqp://{}", vec!["h"; 17].join(","));
        assert_eq!(many.parse::<AmqpAddress>(), Err(AddressError::TooMany));
    }

    #[test]
    fn a_wrong_address_is_refused_with_the_reason() {
        let table = [
            ("localhost:5672", AddressError::Scheme),
            ("http://localhost", AddressError::Scheme),
            ("amqps://localhost", AddressError::Tls),
            ("amqp://", AddressError::Host),
            ("amqp://u:p@:5672", AddressError::Host),
            ("amqp://a,,b", AddressError::Host),
            ("amqp://a,", AddressError::Host),
            ("amqp://[::1", AddressError::Host),
            ("amqp://[::1]x", AddressError::Host),
            ("amqp://h:0", AddressError::Port),
            ("amqp://h:65536", AddressError::Port),
            ("amqp://h:+1", AddressError::Port),
            ("amqp://h:", AddressError::Port),
            ("amqp://u%4:p@h", AddressError::Escape { part: "user" }),
            ("amqp://h/%ff", AddressError::Escape { part: "vhost" }),
            ("amqp://h?heartbeat=3", AddressError::Options),
        ];
        for (text, error) in table {
            assert_eq!(text.parse::<AmqpAddress>(), Err(error), "{text}");
        }
        let long = format!("amqp://h/{}", "v".repeat(256));
        assert_eq!(long.parse::<AmqpAddress>(), Err(AddressError::TooLong { part: "vhost" }));
    }

    #[test]
    fn the_password_does_not_print() {
        let address: AmqpAddress = "amqp://eu-1:sesame@[::1]/a%2Fb".parse().unwrap();
        assert_eq!(address.to_string(), "amqp://eu-1:***@[::1]:5672/a%2Fb");
        assert!(!format!("{address:?} {address:#?}").contains("sesame"));
        for wrong in ["amqp://u:sesame@h:x", "amqp://u:sesame"] {
            let error = wrong.parse::<AmqpAddress>().unwrap_err();
            assert!(!format!("{error} {error:?}").contains("sesame"), "{error}");
        }
    }
}
