//! Which publishes of devices become events, and where they go.

use roost_wire::TopicFilter;

use crate::section::Section;
use crate::value::{choice, parsed, text, whole};

/// `uplink`: the rules of a gateway. A publish follows the first rule that matches it, unless `except` names it.
#[derive(Debug, Clone, PartialEq)]
pub struct UplinkSettings {
    /// `rules`, in order.
    pub rules: Vec<UplinkRule>,
    /// `except`: filters of what stays in the gateway. Topics that begin with `$` always do.
    pub except: Vec<TopicFilter>,
    /// `outstanding_max`: events that wait for a confirm; at it no more are taken from devices until one comes.
    pub outstanding_max: usize,
}

/// One entry of `rules`.
#[derive(Debug, Clone, PartialEq)]
pub struct UplinkRule {
    /// Which topics.
    pub filter: TopicFilter,
    /// To which topic exchange.
    pub exchange: String,
    /// When the device gets its PUBACK.
    pub acknowledge: Acknowledge,
    /// What live events do behind a backlog.
    pub order: Order,
}

/// When a device gets its PUBACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acknowledge {
    /// When the backend has confirmed the event.
    Confirmed,
    /// When the event is on the gateway's disk.
    Spooled,
}

/// In which order a device's events leave after an outage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// As they came.
    Strict,
    /// Live ones before the backlog.
    Fresh,
}

/// Everything, since an event that nobody wants is counted and kept, and one that is filtered out is gone.
pub const FILTER: &str = "#";
/// What devices of one gateway say to each other.
pub const EXCEPT: &str = "local/#";
/// The contract's exchange for events.
pub const EXCHANGE: &str = "roost.up";
/// 2,000: at 20 ms for a confirm that is 100,000 events a second, and at 1 KiB each 2 MB of memory.
pub const OUTSTANDING_MAX: usize = 2_000;
/// 64: rules are tried in order for every publish.
pub const RULES_MAX: usize = 64;

impl Default for UplinkSettings {
    fn default() -> Self {
        let filter = |text| TopicFilter::parse(text).expect("the constant is a filter; a test reads it");
        let rule = UplinkRule {
            filter: filter(FILTER),
            exchange: EXCHANGE.to_owned(),
            acknowledge: Acknowledge::Confirmed,
            order: Order::Strict,
        };
        Self { rules: vec![rule], except: vec![filter(EXCEPT)], outstanding_max: OUTSTANDING_MAX }
    }
}

impl UplinkSettings {
    /// Whether any rule says `spooled`.
    #[must_use]
    pub fn need_spool(&self) -> bool {
        self.rules.iter().any(|rule| rule.acknowledge == Acknowledge::Spooled)
    }

    pub(crate) fn read(mut s: Section<'_>) -> Self {
        let d = Self::default();
        let rules = match s.list("rules") {
            None => d.rules,
            Some(items) => items.iter().filter_map(|item| UplinkRule::read(s.item_section(item))).collect(),
        };
        let except = match s.list("except") {
            None => d.except,
            Some(items) => items.iter().filter_map(|item| s.item(item, filter)).collect(),
        };
        for (key, count) in [("rules", rules.len()), ("except", except.len())] {
            if count > RULES_MAX {
                s.say(key, format!("{count} entries, at most {RULES_MAX} are allowed"));
            }
        }
        let outstanding_max = s.or("outstanding_max", d.outstanding_max, whole(1..=100_000));
        s.finish();
        Self { rules, except, outstanding_max }
    }
}

impl UplinkRule {
    fn read(mut s: Section<'_>) -> Option<Self> {
        let filter = s.required("filter", filter);
        let exchange = s.or("exchange", EXCHANGE.to_owned(), |node| exchange(text(node)?));
        let acknowledge = s.or("acknowledge", Acknowledge::Confirmed, choice(&ACKNOWLEDGE));
        let order = s.or("order", Order::Strict, choice(&ORDER));
        if (acknowledge, order) == (Acknowledge::Confirmed, Order::Fresh) {
            s.say("order", "only what is spooled has a backlog to overtake: it needs acknowledge: spooled");
        }
        s.finish();
        Some(Self { filter: filter?, exchange, acknowledge, order })
    }
}

const ACKNOWLEDGE: [(&str, Acknowledge); 2] =
    [("confirmed", Acknowledge::Confirmed), ("spooled", Acknowledge::Spooled)];
const ORDER: [(&str, Order); 2] = [("strict", Order::Strict), ("fresh", Order::Fresh)];

fn filter(node: &crate::document::Node) -> Result<TopicFilter, String> {
    let filter: TopicFilter = parsed(node)?;
    match filter.is_shared() {
        true => Err(format!("{filter} is a shared subscription; a rule needs a plain filter")),
        false => Ok(filter),
    }
}

/// The mesh's own exchanges carry its own messages; only events belong on [`EXCHANGE`].
fn exchange(name: String) -> Result<String, String> {
    let is_plain = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':'));
    match () {
        () if name.len() > 127 => Err(format!("is {} bytes long, at most 127 are allowed", name.len())),
        () if !is_plain => Err(format!("{name:?} has characters in it other than letters, digits and -_.:")),
        () if name.starts_with("roost.") && name != EXCHANGE => {
            Err(format!("{name} is the mesh's own; events go to {EXCHANGE} or an exchange of yours"))
        }
        () => Ok(name),
    }
}
