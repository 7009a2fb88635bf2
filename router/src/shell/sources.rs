//! Which message of which connection the core means when it acknowledges.

use std::collections::HashMap;

use roost_backend::shell::{Consumer, DeliveryToken};
use roost_wire::LinkId;

use crate::SourceToken;

/// The two consuming connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Line {
    /// Commands.
    Commands,
    /// Sightings, settlements and dead letters.
    Reports,
}

/// Both consumers, and what of theirs is not acknowledged. Bounded by the prefetches.
#[derive(Debug)]
pub(super) struct Sources {
    commands: Consumer,
    reports: Consumer,
    open: HashMap<SourceToken, (Line, DeliveryToken)>,
    next: u64,
}

impl Sources {
    pub(super) fn new(commands: Consumer, reports: Consumer) -> Self {
        Self { commands, reports, open: HashMap::new(), next: 0 }
    }

    /// A name for the core.
    pub(super) fn name(&mut self, line: Line, token: DeliveryToken) -> SourceToken {
        let source = SourceToken(self.next);
        self.next += 1;
        self.open.insert(source, (line, token));
        source
    }

    pub(super) fn ack(&mut self, source: SourceToken) {
        match self.open.remove(&source) {
            Some((Line::Commands, token)) => self.commands.ack(token),
            Some((Line::Reports, token)) => self.reports.ack(token),
            // Its link was lost: the message comes again.
            None => {}
        }
    }

    /// A link was lost: what it delivered comes again with other tokens.
    pub(super) fn lost(&mut self, line: Line, link: LinkId) {
        self.open.retain(|_, (its, token)| *its != line || token.link() != link);
    }

    pub(super) async fn close(self) {
        tokio::join!(self.commands.close(), self.reports.close());
    }
}
