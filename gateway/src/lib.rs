//! The gateway: an MQTT broker that faces devices and federates to the backend.

pub mod packet;
pub mod subscriptions;
