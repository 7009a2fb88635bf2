//! What clients of MQTT 5 are told for their own use: the gateway has none for it.

use roost_wire::ResponseInformation;

use crate::packet::Text;

/// What an operator wants clients of MQTT 5 to know. By default nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hints {
    /// What a client that asks for it begins its response topics with [MQTT5 §3.2.2.3.15].
    pub response_information: Option<ResponseInformation>,
    /// Where a client goes that this gateway sends away since it drains [MQTT5 §4.11]. Without one it connects again where it did.
    pub server_reference: Option<Text>,
}
