//! Where commands are in their traces, and what is told of those that are recorded: one span for each, from when it was taken to its
//! final.
//!
//! A command's own span follows from its trace and its place in the journal. So nothing of it is journalled but what the sender said: a
//! router that was restarted finds it again, and what gateways did for either run are children of one span. A trace that begins here is
//! journalled as one whose parent is that very span.

use std::collections::BTreeMap;

use roost_wire::{
    BootTime, CommandId, CommandRequest, Epoch, GatewayId, Receipt, SpanId, TraceContext, TraceIds,
};

/// A command's way through the router, when it is over.
#[derive(Debug, Clone, PartialEq)]
pub struct CommandTrace {
    /// The router's own place in the trace.
    pub context: TraceContext,
    /// The sender's; `None` if the trace begins here.
    pub parent: Option<SpanId>,
    /// Since when the mesh answers for it. Of a command that another boot of the machine took: since that boot, at the earliest.
    pub start: BootTime,
    /// When its final was on its way to the disk.
    pub end: BootTime,
    /// How often it was redelivered, decided about and so on, in order; without those of earlier runs.
    pub steps: Vec<TraceStep>,
    /// Steps between the first and the end that were not kept.
    pub left_out: u32,
    /// The topic on which the device gets it.
    pub topic: String,
    /// The length of its payload.
    pub payload_bytes: usize,
    /// How it ended.
    pub receipt: Receipt,
}

/// One thing that happened to it.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceStep {
    /// When.
    pub at: BootTime,
    /// What, enumerated.
    pub name: &'static str,
    /// The same in words.
    pub words: String,
    /// A decision: its kind and reason, as metrics write them.
    pub decision: Option<(&'static str, &'static str)>,
    /// A forward: to which gateway, in which hold.
    pub given: Option<(GatewayId, Epoch)>,
}

/// The commands in custody whose trace is recorded. Without ids there are none, and what comes in is handed on.
#[derive(Debug, Default)]
pub(crate) struct Traces {
    ids: Option<TraceIds>,
    open: BTreeMap<u64, Story>,
}

#[derive(Debug)]
struct Story {
    start: BootTime,
    steps: Vec<TraceStep>,
    left_out: u32,
}

/// Steps of so many commands are kept: some 40 MiB at most. The spans of more are told without their steps.
const STORIES_MAX: usize = 10_000;

/// A command that is parked and offered over and over has more; the last ones are left out.
const STEPS_MAX: usize = 32;

impl Traces {
    pub(crate) fn new(ids: Option<TraceIds>) -> Self {
        Self { ids, open: BTreeMap::new() }
    }

    /// A command is taken: what is journalled of its place. Without a trace one begins here.
    pub(crate) fn enter(&mut self, came: Option<TraceContext>, id: CommandId) -> Option<TraceContext> {
        let Some(ids) = &mut self.ids else { return came };
        Some(came.unwrap_or_else(|| {
            let trace = ids.trace();
            TraceContext::new(trace, own_span(trace, id), ids.samples(trace))
        }))
    }

    /// A command's place from here on, by what is journalled of it.
    pub(crate) fn place(&self, came: TraceContext, id: CommandId) -> TraceContext {
        match self.is_recorded(Some(came)) {
            true => came.child(own_span(came.trace, id)),
            false => came,
        }
    }

    pub(crate) fn is_recorded(&self, came: Option<TraceContext>) -> bool {
        self.ids.is_some() && came.is_some_and(TraceContext::is_sampled)
    }

    /// Steps of a recorded command are kept from here on, if there is room and they are not yet.
    pub(crate) fn begin(&mut self, start: BootTime, sequence: u64) {
        if self.open.len() < STORIES_MAX {
            self.open.entry(sequence).or_insert_with(|| Story { start, steps: Vec::new(), left_out: 0 });
        }
    }

    /// Whether steps of this command are kept.
    pub(crate) fn keeps(&self, sequence: u64) -> bool {
        !self.open.is_empty() && self.open.contains_key(&sequence)
    }

    pub(crate) fn note(&mut self, sequence: u64, step: TraceStep) {
        let Some(story) = self.open.get_mut(&sequence) else { return };
        match story.steps.len() < STEPS_MAX {
            true => story.steps.push(step),
            false => story.left_out = story.left_out.saturating_add(1),
        }
    }

    /// A command has ended. `start` is when it was taken, for one whose steps were not kept.
    pub(crate) fn end(
        &mut self,
        (start, end): (BootTime, BootTime),
        request: &CommandRequest,
        receipt: &Receipt,
    ) -> Option<Box<CommandTrace>> {
        let story = self.open.remove(&receipt.command_id.sequence);
        let came = request.trace.filter(|_| self.is_recorded(request.trace))?;
        let context = self.place(came, receipt.command_id);
        let Story { start, steps, left_out } =
            story.unwrap_or(Story { start, steps: Vec::new(), left_out: 0 });
        Some(Box::new(CommandTrace {
            context,
            parent: (came.span != context.span).then_some(came.span),
            start,
            end,
            steps,
            left_out,
            topic: request.topic.as_str().to_owned(),
            payload_bytes: request.payload.len(),
            receipt: receipt.clone(),
        }))
    }
}

fn own_span(trace: roost_wire::TraceId, id: CommandId) -> SpanId {
    SpanId::derived(trace, [id.journal.into(), id.sequence])
}
