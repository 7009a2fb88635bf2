//! What the router waits for: told to `/readyz`, and to the log once per change.

use roost_ops::Readiness;

use super::sources::Line;

/// The state of everything that the router leans on.
#[derive(Debug)]
pub(super) struct Standing {
    readiness: Readiness,
    is_standby: bool,
    publisher_is_up: bool,
}

const COMMANDS: &str = "AMQP commands";
const REPORTS: &str = "AMQP reports";
const PUBLISHER: &str = "AMQP publisher";

/// What a broker says of an exclusive queue that another connection has (AMQP 0-9-1, code 405).
const LOCKED: &str = "RESOURCE_LOCKED";

impl Standing {
    pub(super) fn new(readiness: Readiness) -> Self {
        for part in [COMMANDS, REPORTS, PUBLISHER] {
            readiness.not_ready(part, "connecting");
        }
        Self { readiness, is_standby: false, publisher_is_up: false }
    }

    /// A consuming connection is up, or down for this reason. Returns whether the shard's lock is held, if that is known from
    /// it.
    pub(super) fn line(&mut self, line: Line, trouble: Option<&str>) -> Option<bool> {
        match line {
            Line::Commands => {
                self.part(COMMANDS, trouble);
                None
            }
            Line::Reports => {
                self.is_standby = trouble.is_some_and(|reason| reason.contains(LOCKED));
                match self.is_standby {
                    true => self.part(REPORTS, Some("standby: another router has the shard's lock; this one takes over when that one is gone")),
                    false => self.part(REPORTS, trouble),
                }
                if trouble.is_some() {
                    self.readiness.not_ready(
                        COMMANDS,
                        "waiting for the shard's lock, which the reports' connection holds",
                    );
                }
                Some(trouble.is_none())
            }
        }
    }

    pub(super) fn publisher(&mut self, trouble: Option<&str>) {
        self.publisher_is_up = trouble.is_none();
        self.part(PUBLISHER, trouble);
    }

    pub(super) fn journal(&self, stuck: Option<&str>) {
        self.part("journal", stuck);
    }

    pub(super) fn recovery(&self, is_recovered: bool) {
        self.part("recovery", (!is_recovered).then_some("gateways have not all said what they hold"));
    }

    pub(super) fn draining(&self) {
        self.part("router", Some("draining"));
    }

    /// Whether another router is known to serve the shard.
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
