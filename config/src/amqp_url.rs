//! Where the backend is, with a password that does not print.

use std::str::FromStr;

/// An AMQP 0-9-1 URL, `amqp://[user[:password]@]host[:port][/vhost]`, checked for its shape. Neither `Display` nor
/// `Debug` shows the password.
#[derive(Clone, PartialEq, Eq)]
pub struct AmqpUrl(String);

/// Why a text is not an AMQP URL. Says nothing of the text itself, since a password may stand in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AmqpUrlError {
    /// Another scheme, or none.
    #[error("expected amqp://[user[:password]@]host[:port][/vhost]")]
    Shape,
    /// TLS has a later issue.
    #[error("amqps:// is not there yet; use amqp:// over a network that you trust")]
    Tls,
    /// Not 1 to 65535.
    #[error("the port of the AMQP URL is not 1 to 65535")]
    Port,
}

impl AmqpUrl {
    /// The whole URL, password included: for the client that connects, never for a log.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What comes before the password, and what comes after it, if there is one.
    fn around_password(&self) -> Option<(&str, &str)> {
        let scheme_end = "amqp://".len();
        let authority_end = self.0[scheme_end..].find('/').map_or(self.0.len(), |i| scheme_end + i);
        let at = self.0[..authority_end].rfind('@')?;
        let colon = scheme_end + self.0[scheme_end..at].find(':')?;
        Some((&self.0[..=colon], &self.0[at..]))
    }
}

impl FromStr for AmqpUrl {
    type Err = AmqpUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with("amqps://") {
            return Err(AmqpUrlError::Tls);
        }
        let rest = text.strip_prefix("amqp://").ok_or(AmqpUrlError::Shape)?;
        let authority = rest.split('/').next().unwrap_or_default();
        let host_and_port = authority.rsplit('@').next().unwrap_or_default();
        // The colons of an IPv6 address stand in brackets.
        let (host, port) = match host_and_port.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (host_and_port, None),
        };
        let port_is_good = |port: &str| port.parse::<u16>().is_ok_and(|port| port != 0);
        if host.is_empty() || text.chars().any(|c| c.is_control() || c == ' ') {
            return Err(AmqpUrlError::Shape);
        }
        match port {
            Some(port) if !port_is_good(port) => Err(AmqpUrlError::Port),
            _ => Ok(Self(text.to_owned())),
        }
    }
}

impl std::fmt::Display for AmqpUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.around_password() {
            Some((before, after)) => write!(f, "{before}***{after}"),
            None => f.write_str(&self.0),
        }
    }
}

impl std::fmt::Debug for AmqpUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AmqpUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_does_not_print() {
        let cases = [
            ("amqp://127.0.0.1", "amqp://127.0.0.1"),
            ("amqp://user@host:5672/vhost", "amqp://user@host:5672/vhost"),
            ("amqp://user:secret@host:5672/%2f", "amqp://user:***@host:5672/%2f"),
            ("amqp://user:sec:ret@[::1]:5672", "amqp://user:***@[::1]:5672"),
            ("amqp://user:s%40cret@[::1]", "amqp://user:***@[::1]"),
            ("amqp://user:p@ss@host/v@host", "amqp://user:***@host/v@host"),
        ];
        for (text, shown) in cases {
            let url: AmqpUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), format!("AmqpUrl({shown})"));
            assert_eq!(url.expose(), text);
        }
    }

    #[test]
    fn what_is_not_an_amqp_url_is_refused_without_repeating_it() {
        let cases = [
            ("http://host", AmqpUrlError::Shape),
            ("host:5672", AmqpUrlError::Shape),
            ("amqp://", AmqpUrlError::Shape),
            ("amqp://user:secret@", AmqpUrlError::Shape),
            ("amqp://user:se cret@host", AmqpUrlError::Shape),
            ("amqp://user:secret@host:0", AmqpUrlError::Port),
            ("amqp://user:secret@host:70000", AmqpUrlError::Port),
            ("amqps://user:secret@host", AmqpUrlError::Tls),
        ];
        for (text, expected) in cases {
            let error = text.parse::<AmqpUrl>().unwrap_err();
            assert_eq!(error, expected, "{text}");
            assert!(!error.to_string().contains("secret"));
        }
    }
}
