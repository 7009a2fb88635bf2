//! User properties of MQTT 5.

use super::Text;

/// One name and value pair of the user's. Names may repeat, and the order is kept [MQTT-3.3.2-18].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserProperty {
    /// The name.
    pub name: Text,
    /// The value.
    pub value: Text,
}

impl UserProperty {
    /// The same pair in memory of its own; see [`Text::detached`].
    pub fn detached(&self) -> Self {
        Self { name: self.name.detached(), value: self.value.detached() }
    }
}
