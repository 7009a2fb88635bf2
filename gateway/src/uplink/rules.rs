//! Which topics are carried to the backend, through which exchange.

use roost_backend::contract;
use roost_wire::TopicFilter;

/// What happens to publishes whose topic matches a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UplinkRule {
    /// They stay at the gateway.
    Keep {
        /// Which topics.
        filter: TopicFilter,
    },
    /// They become events.
    Carry {
        /// Which topics.
        filter: TopicFilter,
        /// The AMQP exchange.
        exchange: String,
        /// When the publisher is answered.
        acknowledge: Acknowledge,
        /// What comes first after an outage.
        order: UplinkOrder,
    },
}

/// When the publisher of an event gets its PUBACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Acknowledge {
    /// When the backend has confirmed it.
    Confirmed,
    /// When it is on this gateway's disk. At QoS 0, which nobody acknowledges, it is as `confirmed`.
    Spooled,
}

/// What comes first after an outage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UplinkOrder {
    /// Live events queue behind the device's backlog.
    Strict,
    /// Live events overtake it.
    Fresh,
}

/// Rules in order; the first whose filter matches decides. What none matches stays at the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UplinkRules {
    rules: Vec<UplinkRule>,
}

impl UplinkRules {
    /// These rules, in this order.
    #[must_use]
    pub fn new(rules: Vec<UplinkRule>) -> Self {
        Self { rules }
    }

    /// Whether any rule says `spooled`.
    #[must_use]
    pub fn need_spool(&self) -> bool {
        let spools = |rule: &UplinkRule| match rule {
            UplinkRule::Keep { .. } => false,
            UplinkRule::Carry { acknowledge, .. } => *acknowledge == Acknowledge::Spooled,
        };
        self.rules.iter().any(spools)
    }

    /// How a publish to this topic is carried, and to which exchange; `None` if it stays here.
    #[must_use]
    pub fn carried(&self, topic: &str) -> Option<(&str, Acknowledge, UplinkOrder)> {
        let matches = |rule: &&UplinkRule| match rule {
            UplinkRule::Keep { filter } | UplinkRule::Carry { filter, .. } => filter.matches(topic),
        };
        match self.rules.iter().find(matches)? {
            UplinkRule::Keep { .. } => None,
            UplinkRule::Carry { exchange, acknowledge, order, .. } => Some((exchange, *acknowledge, *order)),
        }
    }
}

impl Default for UplinkRules {
    /// `local/#` stays, and so does `$…`, which `#` does not match [MQTT-4.7.2-1]; all else goes to `roost.up`.
    fn default() -> Self {
        let filter = |text| TopicFilter::parse(text).expect("a literal is a good filter");
        Self::new(vec![
            UplinkRule::Keep { filter: filter("local/#") },
            UplinkRule::Carry {
                filter: filter("#"),
                exchange: contract::UP.to_owned(),
                acknowledge: Acknowledge::Confirmed,
                order: UplinkOrder::Strict,
            },
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_matches_decides() {
        let rules = UplinkRules::default();
        let cases = [
            ("a/b", Some("roost.up")),
            ("local", None),
            ("local/x", None),
            ("locally", Some("roost.up")),
            ("$SYS/x", None),
        ];
        for (topic, exchange) in cases {
            assert_eq!(rules.carried(topic).map(|(exchange, ..)| exchange), exchange, "{topic}");
        }
        assert_eq!(UplinkRules::new(Vec::new()).carried("a"), None);
    }
}
