//! The gateway's core as a whole, without a shell: one shard, one link, clients that speak MQTT through the codec, and a
//! backend and a router played by the test.

mod answers;
mod authenticating;
mod backpressure;
mod broadcasts;
mod commands;
mod connecting;
mod crossing;
mod crossing_groups;
mod crossing_walk;
mod draining;
mod exactly_once_down;
mod exactly_once_roaming;
mod exactly_once_up;
mod exactly_once_walk;
mod learning;
mod link_reports;
mod mqtt_31;
mod packet_sizes;
mod publishing;
mod random;
mod retained;
mod retained_walk;
mod roaming;
mod roaming_in_doubt;
mod roaming_walk;
mod sessions;
mod several_shards;
mod sharing;
mod sharing_left;
mod sharing_walk;
mod spooling;
mod storing;
mod storing_roaming;
mod storing_walk;
mod subscribing;
mod sys;
mod topic_aliases;
mod traces;
mod tracing;
mod wills;
mod wills_elsewhere;
mod wills_walk;
mod world;

/// Filter, topic, and whether it matches: MQTT5 §4.7.1 and §4.7.2, in their order.
pub(crate) const WILDCARDS: [(&str, &str, bool); 27] = [
    ("sport/tennis/player1/#", "sport/tennis/player1", true),
    ("sport/tennis/player1/#", "sport/tennis/player1/ranking", true),
    ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
    ("sport/#", "sport", true),
    ("#", "sport", true),
    ("#", "/", true),
    ("sport/tennis/+", "sport/tennis/player1", true),
    ("sport/tennis/+", "sport/tennis/player1/ranking", false),
    ("sport/+", "sport", false),
    ("sport/+", "sport/", true),
    ("+/+", "/finance", true),
    ("/+", "/finance", true),
    ("+", "/finance", false),
    ("+/tennis/#", "sport/tennis", true),
    ("+/tennis/#", "sport/tennis/x/y", true),
    ("sport/+/player1", "sport/tennis/player1", true),
    ("#", "$SYS/monitor", false),
    ("+/monitor/Clients", "$SYS/monitor/Clients", false),
    ("$SYS/#", "$SYS/monitor", true),
    ("$SYS/monitor/+", "$SYS/monitor/Clients", true),
    ("$SYS/+/#", "$SYS", false),
    ("a/$b/+", "a/$b/c", true),
    ("a/+/c", "a/$b/c", true),
    ("a/b", "a/b/", false),
    ("a/b", "a/b", true),
    ("a//b", "a//b", true),
    ("ACCOUNTS", "Accounts", false),
];
