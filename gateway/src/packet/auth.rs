//! AUTH: the extended authentication of MQTT 5.

use super::{ReasonCode, Secret, Text, UserProperty};

/// An AUTH packet; MQTT 5 only.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Auth {
    /// Success, continue, or start again.
    pub reason: ReasonCode,
    /// `None` if there are none.
    pub properties: Option<Box<AuthProperties>>,
}

/// The properties of an AUTH.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuthProperties {
    /// The name of the method.
    pub authentication_method: Option<Text>,
    /// Its data; only with a method.
    pub authentication_data: Option<Secret>,
    /// For people to read.
    pub reason_string: Option<Text>,
    /// The user's pairs.
    pub user_properties: Vec<UserProperty>,
}
