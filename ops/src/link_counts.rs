//! How the links of a role fare, as Prometheus reads it.

use std::collections::BTreeMap;

use crate::{Exposition, MetricKind};

/// One kind of link: whether it is up, how often it was tried, and why it was down. It outlives the connections it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkCounts {
    link: &'static str,
    is_up: bool,
    is_blocked: bool,
    attempts: u64,
    downs: BTreeMap<&'static str, u64>,
}

impl LinkCounts {
    /// A link that was not tried yet. `link` and `reasons` are labels: few, and known beforehand; each reason is on the page
    /// from the start, so that its first increase is seen as one.
    #[must_use]
    pub fn new(link: &'static str, reasons: impl IntoIterator<Item = &'static str>) -> Self {
        let downs = reasons.into_iter().map(|reason| (reason, 0)).collect();
        Self { link, is_up: false, is_blocked: false, attempts: 0, downs }
    }

    /// An attempt has succeeded.
    pub fn up(&mut self) {
        self.attempts += 1;
        (self.is_up, self.is_blocked) = (true, false);
    }

    /// The broker takes no messages on it for now (AMQP `connection.blocked`), or takes them again.
    pub fn blocked(&mut self, is_blocked: bool) {
        self.is_blocked = is_blocked;
    }

    /// The link was lost; or, if it was not up, an attempt was in vain.
    pub fn down(&mut self, reason: &'static str) {
        self.attempts += u64::from(!self.is_up);
        (self.is_up, self.is_blocked) = (false, false);
        *self.downs.entry(reason).or_default() += 1;
    }

    /// The role itself has closed it: nobody's trouble.
    pub fn closed(&mut self) {
        (self.is_up, self.is_blocked) = (false, false);
    }

    /// The families of a role's links.
    pub fn write(links: &[Self], page: &mut Exposition) {
        page.family("roost_link_up", MetricKind::Gauge, "Whether the AMQP link is up.");
        for Self { link, is_up, .. } in links {
            page.sample(&[("link", link)], u8::from(*is_up));
        }
        let help =
            "Whether the broker takes no messages on the AMQP link for now: its memory or disk is short.";
        page.family("roost_link_blocked", MetricKind::Gauge, help);
        for Self { link, is_blocked, .. } in links {
            page.sample(&[("link", link)], u8::from(*is_blocked));
        }
        let help = "Attempts to make the AMQP link, counted when they succeed or fail.";
        page.family("roost_link_attempts_total", MetricKind::Counter, help);
        for Self { link, attempts, .. } in links {
            page.sample(&[("link", link)], attempts);
        }
        let help = "AMQP links that were lost and attempts that failed, by reason.";
        page.family("roost_link_downs_total", MetricKind::Counter, help);
        for Self { link, downs, .. } in links {
            for (reason, count) in downs {
                page.sample(&[("link", link), ("reason", reason)], count);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_counts_once_and_a_loss_is_no_attempt() {
        let mut counts = LinkCounts::new("inbox", ["broken", "refused"]);
        let page = |counts: &LinkCounts| {
            let mut page = Exposition::default();
            LinkCounts::write(std::slice::from_ref(counts), &mut page);
            page.finish()
        };
        let has = |counts: &LinkCounts, line: &str| {
            let page = page(counts);
            assert!(page.lines().any(|found| found == line), "{line} in\n{page}");
        };
        has(&counts, "roost_link_downs_total{link=\"inbox\",reason=\"broken\"} 0");
        counts.down("refused");
        counts.up();
        has(&counts, "roost_link_up{link=\"inbox\"} 1");
        has(&counts, "roost_link_blocked{link=\"inbox\"} 0");
        counts.blocked(true);
        has(&counts, "roost_link_up{link=\"inbox\"} 1");
        has(&counts, "roost_link_blocked{link=\"inbox\"} 1");
        counts.down("broken");
        has(&counts, "roost_link_up{link=\"inbox\"} 0");
        has(&counts, "roost_link_blocked{link=\"inbox\"} 0");
        has(&counts, "roost_link_attempts_total{link=\"inbox\"} 2");
        has(&counts, "roost_link_downs_total{link=\"inbox\",reason=\"broken\"} 1");
        has(&counts, "roost_link_downs_total{link=\"inbox\",reason=\"refused\"} 1");
        counts.up();
        counts.closed();
        has(&counts, "roost_link_up{link=\"inbox\"} 0");
        has(&counts, "roost_link_downs_total{link=\"inbox\",reason=\"broken\"} 1");
    }
}
