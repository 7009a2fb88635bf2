//! How much goes over the ends of a role's links, as Prometheus reads it.

use roost_ops::{Exposition, Histogram, MetricKind};

use crate::window::Published;

/// A publisher's figures since it was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PublisherFigures {
    /// From the write to the broker's answer, acknowledgement or refusal.
    pub confirms: Histogram,
    /// Messages sent and not answered.
    pub in_flight: usize,
    /// Messages in the window that are not sent.
    pub unsent: usize,
    /// Messages published again on a new link.
    pub republished: u64,
    /// Channels that were replaced, since messages were refused on them.
    pub channels_renewed: u64,
    outcomes: [u64; OUTCOMES.len()],
}

/// A consumer's figures since it was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ConsumerFigures {
    /// Deliveries, redeliveries among them.
    pub delivered: u64,
    /// Deliveries that the broker had made before, to anybody.
    pub redelivered: u64,
    /// Delivered and not taken by the role.
    pub waiting: usize,
    /// Delivered and not acknowledged or rejected.
    pub open: usize,
}

const OUTCOMES: [&str; 5] = ["confirmed", "returned", "nacked", "lost", "refused"];

impl PublisherFigures {
    pub(super) fn outcome(&mut self, outcome: &Published) {
        let index = match outcome {
            Published::Confirmed => 0,
            Published::Returned { .. } => 1,
            Published::Nacked => 2,
            Published::Lost => 3,
            Published::Refused { .. } => 4,
        };
        self.outcomes[index] += 1;
    }

    /// The families of a role's publishers, each with the name of its link.
    pub fn write(publishers: &[(&'static str, Self)], page: &mut Exposition) {
        use MetricKind::{Counter, Gauge};
        page.family("roost_link_publishes_total", Counter, "Messages published over the link, by outcome.");
        for (link, figures) in publishers {
            for (outcome, count) in OUTCOMES.into_iter().zip(figures.outcomes) {
                page.sample(&[("link", link), ("outcome", outcome)], count);
            }
        }
        let help = "Messages that were unconfirmed when the link was lost, and published again on the next.";
        page.family("roost_link_republished_total", Counter, help);
        for (link, figures) in publishers {
            page.sample(&[("link", link)], figures.republished);
        }
        let help = "Channels of the link that were replaced, since the broker refused messages on them.";
        page.family("roost_link_channels_renewed_total", Counter, help);
        for (link, figures) in publishers {
            page.sample(&[("link", link)], figures.channels_renewed);
        }
        let help = "Time from writing a message to the broker's confirm or refusal of it.";
        page.family("roost_link_confirm_seconds", MetricKind::Histogram, help);
        for (link, figures) in publishers {
            page.histogram(&[("link", link)], &figures.confirms);
        }
        page.family("roost_link_publishes_in_flight", Gauge, "Messages published and not confirmed.");
        for (link, figures) in publishers {
            page.sample(&[("link", link)], figures.in_flight);
        }
        page.family("roost_link_publishes_unsent", Gauge, "Messages in the link's window that are not sent.");
        for (link, figures) in publishers {
            page.sample(&[("link", link)], figures.unsent);
        }
    }
}

impl ConsumerFigures {
    /// The families of a role's consumers, each with the name of its link.
    pub fn write(consumers: &[(&'static str, Self)], page: &mut Exposition) {
        type Figure = fn(&ConsumerFigures) -> u64;
        let families: [(&str, MetricKind, &str, Figure); 4] = [
            (
                "roost_link_deliveries_total",
                MetricKind::Counter,
                "Messages delivered over the link, repeated ones among them.",
                |figures| figures.delivered,
            ),
            (
                "roost_link_redeliveries_total",
                MetricKind::Counter,
                "Messages delivered again, since they were not acknowledged before.",
                |figures| figures.redelivered,
            ),
            (
                "roost_link_deliveries_waiting",
                MetricKind::Gauge,
                "Messages delivered and not taken in by the role yet.",
                |figures| figures.waiting as u64,
            ),
            (
                "roost_link_deliveries_unacknowledged",
                MetricKind::Gauge,
                "Messages delivered and not acknowledged; the prefetch bounds them.",
                |figures| figures.open as u64,
            ),
        ];
        for (name, kind, help, figure) in families {
            page.family(name, kind, help);
            for (link, figures) in consumers {
                page.sample(&[("link", link)], figure(figures));
            }
        }
    }
}
