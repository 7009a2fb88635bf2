//! What the router waits for: told to `/readyz`, and to the log once per change.

use roost_backend::shell::{DownKind, DownReason};
use roost_ops::{LinkCounts, Readiness};

use super::sources::Line;

/// The state of everything that the router leans on.
#[derive(Debug)]
pub(super) struct Standing {
    readiness: Readiness,
    has_lock: bool,
    is_standby: bool,
    publisher_is_up: bool,
    commands: LinkCounts,
    reports: LinkCounts,
    publisher: LinkCounts,
}

const COMMANDS: &str = "AMQP commands";
const REPORTS: &str = "AMQP reports";
const PUBLISHER: &str = "AMQP publisher";

impl Standing {
    pub(super) fn new(readiness: Readiness) -> Self {
        for part in [COMMANDS, REPORTS, PUBLISHER] {
            readiness.not_ready(part, "connecting");
        }
        let counts = |link| LinkCounts::new(link, DownKind::ALL.map(DownKind::as_str));
        Self {
            readiness,
            has_lock: false,
            is_standby: false,
            publisher_is_up: false,
            commands: counts("commands"),
            reports: counts("reports"),
            publisher: counts("publisher"),
        }
    }

    /// A consuming connection is up, or down for this reason. Returns whether the shard's lock is held, if that is known from
    /// it.
    pub(super) fn line(&mut self, line: Line, trouble: Option<&DownReason>) -> Option<bool> {
        match line {
            Line::Commands => {
                count(&mut self.commands, trouble);
                self.part(COMMANDS, trouble.map(DownReason::to_string).as_deref());
                None
            }
            Line::Reports => {
                count(&mut self.reports, trouble);
                self.has_lock = trouble.is_none();
                match trouble {
                    // The lock is the one exclusive queue of this connection's plan.
                    Some(DownReason::ResourceLocked { .. }) => {
                        self.is_standby = true;
                        self.part(REPORTS, Some("standby: another router has the shard's lock; this one takes over when that one is gone"));
                    }
                    // While it cannot look, another router still serves the shard as far as it knows.
                    Some(
                        DownReason::Unreachable { .. }
                        | DownReason::TimedOut { .. }
                        | DownReason::Refused { .. }
                        | DownReason::Closed { .. }
                        | DownReason::Broken { .. },
                    ) => self.part(REPORTS, trouble.map(DownReason::to_string).as_deref()),
                    None => {
                        self.is_standby = false;
                        self.part(REPORTS, None);
                    }
                }
                if trouble.is_some() {
                    self.commands.closed();
                    self.readiness.not_ready(
                        COMMANDS,
                        "waiting for the shard's lock, which the reports' connection holds",
                    );
                }
                Some(trouble.is_none())
            }
        }
    }

    /// The publishing connection is up, or down for this reason.
    pub(super) fn publisher(&mut self, trouble: Option<&DownReason>) {
        count(&mut self.publisher, trouble);
        self.publishing(trouble.map(DownReason::to_string).as_deref());
    }

    /// The broker takes no messages for this reason, or takes them again.
    pub(super) fn publisher_blocked(&mut self, reason: Option<&str>) {
        self.publisher.blocked(reason.is_some());
        self.publishing(reason);
    }

    fn publishing(&mut self, trouble: Option<&str>) {
        self.publisher_is_up = trouble.is_none();
        self.part(PUBLISHER, trouble);
    }

    /// How the connections fared so far.
    pub(super) fn links(&self) -> Vec<LinkCounts> {
        vec![self.commands.clone(), self.reports.clone(), self.publisher.clone()]
    }

    pub(super) fn journal(&self, stuck: Option<&str>) {
        self.part("journal", stuck);
    }

    pub(super) fn recovery(&self, is_recovered: bool) {
        self.part("recovery", (!is_recovered).then_some("gateways have not all said what they hold"));
    }

    /// It was asked to end: `/readyz` says so, and nobody needs to be warned.
    pub(super) fn draining(&self) {
        self.readiness.not_ready("router", "draining");
        tracing::info!("router: draining");
    }

    /// Whether this router has the shard's lock, as far as it knows.
    pub(super) fn has_lock(&self) -> bool {
        self.has_lock
    }

    /// Whether another router serves the shard, as far as it knows.
    pub(super) fn is_standby(&self) -> bool {
        self.is_standby
    }

    /// Whether what is published can be confirmed soon.
    pub(super) fn publisher_is_up(&self) -> bool {
        self.publisher_is_up
    }

    fn part(&self, part: &'static str, trouble: Option<&str>) {
        match trouble {
            None if self.readiness.ready(part) => tracing::info!("{part}: ready"),
            Some(reason) if self.readiness.not_ready(part, reason) => {
                tracing::warn!(%reason, "{part}: waiting");
            }
            None | Some(_) => {}
        }
    }
}

fn count(link: &mut LinkCounts, trouble: Option<&DownReason>) {
    match trouble {
        None => link.up(),
        Some(reason) => link.down(reason.kind().as_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standby_remains_one_while_it_cannot_look() {
        let mut standing = Standing::new(Readiness::default());
        let (what, text) = (String::new(), String::new());
        let away = DownReason::Unreachable { what: what.clone(), text: text.clone() };
        standing.line(Line::Reports, Some(&away));
        assert!(!standing.is_standby(), "nobody has said so: its journal is all that custody needs");
        standing.line(Line::Reports, Some(&DownReason::ResourceLocked { what, text }));
        standing.line(Line::Reports, Some(&away));
        assert!(standing.is_standby() && !standing.has_lock());
        standing.line(Line::Reports, None);
        assert!(!standing.is_standby() && standing.has_lock());
        standing.line(Line::Reports, Some(&away));
        assert!(!standing.is_standby() && !standing.has_lock());
    }
}
