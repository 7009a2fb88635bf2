//! A shard, a link and clients that speak MQTT through the codec.
