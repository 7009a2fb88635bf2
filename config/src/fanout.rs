//! Which topics are for the subscribers of every gateway.

use roost_wire::BroadcastPrefix;

use crate::document::Node;
use crate::section::Section;
use crate::value::parsed;

/// `fanout`: the same at every gateway that is to carry broadcasts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FanoutSettings {
    /// `prefixes`: how the topics of broadcasts begin; none by default. None covers what another covers.
    pub prefixes: Vec<BroadcastPrefix>,
}

/// 64: they are tried in order for every publish, and each is a binding of each gateway.
pub const PREFIXES_MAX: usize = 64;

impl FanoutSettings {
    pub(crate) fn read(mut s: Section<'_>) -> Self {
        let items = s.list("prefixes").unwrap_or_default();
        let mut prefixes: Vec<BroadcastPrefix> = Vec::new();
        for item in items {
            let read = |node: &Node| {
                let prefix: BroadcastPrefix = parsed(node)?;
                let overlaps =
                    |other: &&BroadcastPrefix| other.covers(prefix.as_str()) || prefix.covers(other.as_str());
                match prefixes.iter().find(overlaps) {
                    Some(other) => {
                        Err(format!("{prefix} and {other} cover the same topics: leave one of them out"))
                    }
                    None => Ok(prefix),
                }
            };
            if let Some(prefix) = s.item(item, read) {
                prefixes.push(prefix);
            }
        }
        if items.len() > PREFIXES_MAX {
            s.say("prefixes", format!("{} entries, at most {PREFIXES_MAX} are allowed", items.len()));
        }
        s.finish();
        Self { prefixes }
    }
}
