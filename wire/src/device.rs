//! A device: an MQTT client, identified by tenant and client id.

use crate::name::name;
use crate::{NameError, Tenant};

name! {
    /// An MQTT client id that the mesh can address: 1 to 64 bytes of UTF-8 without control characters, `+` and `#`.
    /// Others are refused at CONNECT (v5 0x85, v3.1.1 0x02).
    DeviceId, "device id", 64, "all but control characters, + and #",
    |c: char| !c.is_control() && c != '+' && c != '#'
}

impl DeviceId {
    /// The id as one level of a topic: `/` and `%` are written as `%2F` and `%25`, so that no id adds a level.
    #[must_use]
    pub fn as_topic_level(&self) -> String {
        self.as_str().replace('%', "%25").replace('/', "%2F")
    }
}

/// One device of one tenant: the address of a command and the origin of an event.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Device {
    /// Who owns it.
    pub tenant: Tenant,
    /// Its MQTT client id.
    #[serde(rename = "device")]
    pub id: DeviceId,
}

/// Why `[TENANT/]DEVICE` could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not [TENANT/]DEVICE: {source}")]
pub struct DeviceParseError {
    text: String,
    source: NameError,
}

impl Device {
    /// Puts the two together.
    #[must_use]
    pub fn new(tenant: Tenant, id: DeviceId) -> Self {
        Self { tenant, id }
    }
}

impl std::fmt::Display for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.tenant, self.id)
    }
}

impl std::str::FromStr for Device {
    type Err = DeviceParseError;

    /// Reads `TENANT/DEVICE`, or `DEVICE` for the default tenant. The first slash divides, so a device id with a slash in
    /// it is always written with its tenant.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = match text.split_once('/') {
            Some((tenant, id)) => Tenant::parse(tenant).and_then(|t| Ok(Self::new(t, DeviceId::parse(id)?))),
            None => DeviceId::parse(text).map(|id| Self::new(Tenant::default(), id)),
        };
        parsed.map_err(|source| DeviceParseError { text: text.to_owned(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_reads_with_and_without_its_tenant() {
        let cases = [("d1", "main", "d1"), ("acme/d1", "acme", "d1"), ("main/a/b", "main", "a/b")];
        for (text, tenant, id) in cases {
            let device: Device = text.parse().unwrap();
            assert_eq!((device.tenant.as_str(), device.id.as_str()), (tenant, id), "{text}");
        }
        for text in ["", "/d", "Acme/d", "acme/", "a+b", "a#", "a\u{7}"] {
            assert!(text.parse::<Device>().is_err(), "{text:?}");
        }
        assert!("x".repeat(65).parse::<Device>().is_err());
    }

    #[test]
    fn an_id_is_always_one_topic_level() {
        assert_eq!(DeviceId::parse("a/b%c").unwrap().as_topic_level(), "a%2Fb%25c");
    }
}
