//! What happens because nothing happens.

use roost_wire::{BootTime, Now};

use super::close::Farewell;
use super::connection::HeldBy;
use super::{Shard, TimerFor};
use crate::packet::ReasonCode;
use crate::session::{Session, SessionKey};
use crate::{ConnectionId, Count};

/// What a connection can run out of time for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Overdue {
    Connect,
    /// It shows again who it is.
    Authentication,
    KeepAlive,
    /// Publishers have waited for one that acknowledges nothing.
    Patience,
    /// The socket takes nothing, or the client acknowledges nothing while others wait for it.
    Stall,
    Settle,
    /// A waiting command's lifetime.
    Lifetime,
}

impl Shard {
    pub(super) fn tick(&mut self, now: Now) {
        while let Some(timer) = self.timers.pop(now.boot) {
            match timer {
                TimerFor::Drain => {}
                TimerFor::Connection(id) => self.connection_due(now, id),
                TimerFor::Session(key) => {
                    let expires_at = self.sessions.get(&key).and_then(|session| session.expires_at);
                    match expires_at {
                        Some(at) if at > now.boot => self.timers.set(TimerFor::Session(key), at),
                        Some(_) => self.end_session(now, key, Count::SessionExpired),
                        None => {}
                    }
                }
                TimerFor::Fetch(request) => self.fetch_due(now, request),
                TimerFor::Retained(key) => self.retained_due(now, key),
                TimerFor::Will(key) => self.will_due(now, key),
                TimerFor::Sys => self.sys_due(now),
                TimerFor::Learn => self.learning_due(now),
                TimerFor::RetainedExpiry => self.expire_retained(now),
                TimerFor::Give(key) => self.give_due(now, key),
                TimerFor::Group(group) => self.group_due(now, group),
                TimerFor::Retry(number) => {
                    if let Some(publication) = self.uplink.retry(number) {
                        self.publish_to_backend(publication);
                    }
                }
            }
        }
    }

    /// Sets the connection's timer to what is due first on it.
    pub(super) fn arm(&mut self, id: ConnectionId) {
        if let Some(at) = self.deadlines(id).into_iter().flatten().map(|(at, _)| at).min() {
            self.timers.set(TimerFor::Connection(id), at);
        }
    }

    /// Others wait for a session's client from now on, or no more.
    pub(super) fn watch_stall(&mut self, now: Now, key: SessionKey) {
        let message_waits = self.a_message_waits_for(key);
        let bounds = self.config.limits.queue();
        let Some(session) = self.sessions.touch(&key) else { return };
        let Some(id) = session.connection else { return };
        let is_over = session.outbox.is_over(bounds);
        let is_waited_for = !session.holds_up.is_empty() || message_waits;
        if !is_waited_for && !session.hold.has_waiting() && !is_over {
            session.stalled_since = None;
            return;
        }
        // Not for each message that comes meanwhile.
        if session.stalled_since.is_none() || is_waited_for {
            session.stalled_since.get_or_insert(now.boot);
            self.arm(id);
        }
    }

    /// Whether publishers wait for a session's client.
    fn is_waited_for(&self, key: SessionKey, session: &Session) -> bool {
        !session.holds_up.is_empty() || self.a_message_waits_for(key)
    }

    /// Whether a will or a broadcast does.
    fn a_message_waits_for(&self, key: SessionKey) -> bool {
        let holder = HeldBy::Subscriber(key);
        self.wills.wait_for(holder) || self.broadcasts.wait_for(holder)
    }

    fn connection_due(&mut self, now: Now, id: ConnectionId) {
        // It may be stalled by now, and then they wait no longer.
        if let Some(key) = self.session_of(id) {
            self.wake_next(HeldBy::Subscriber(key));
        }
        let overdue = self.deadlines(id).into_iter().flatten().filter(|(at, _)| *at <= now.boot);
        match overdue.min_by_key(|(at, _)| *at).map(|(_, overdue)| overdue) {
            None | Some(Overdue::Patience) => {}
            Some(Overdue::Connect) => return self.connect_overdue(now, id),
            Some(Overdue::Authentication) => return self.reauthentication_overdue(now, id),
            Some(Overdue::KeepAlive) => {
                let farewell = Farewell::Disconnect(ReasonCode::KeepAliveTimeout);
                return self.close(now, id, Count::ClosedKeepAlive, farewell);
            }
            Some(Overdue::Stall) => {
                let farewell = Farewell::Disconnect(ReasonCode::QuotaExceeded);
                return self.close(now, id, Count::ClosedSlow, farewell);
            }
            Some(Overdue::Settle) => return self.settle_overdue(now, id),
            Some(Overdue::Lifetime) => {
                if let Some(key) = self.session_of(id) {
                    self.expire_commands(now.boot, key);
                    // What stood behind it goes back with it, or may be written now.
                    self.pump(now, id);
                    self.watch_stall(now, key);
                }
            }
        }
        self.arm(id);
    }

    /// MQTT forbids sending again on a live connection [MQTT-4.4.0-1], so the connection has to end.
    fn settle_overdue(&mut self, now: Now, id: ConnectionId) {
        let settle_timeout = self.config.limits.settle_timeout;
        let Some(key) = self.session_of(id) else { return };
        let Some(session) = self.sessions.get(&key) else { return };
        let overdue = session.hold.oldest_written().filter(|w| w.written_at + settle_timeout <= now.boot);
        if let Some(written) = overdue.cloned() {
            self.time_out_command(key, &written);
        }
        let farewell = Farewell::Disconnect(ReasonCode::UnspecifiedError);
        self.close(now, id, Count::ClosedSettleTimeout, farewell);
    }

    fn deadlines(&self, id: ConnectionId) -> [Option<(BootTime, Overdue)>; 8] {
        let Some(connection) = self.connections.get(&id) else { return [None; 8] };
        let limits = &self.config.limits;
        let Some(client) = connection.client.as_deref() else {
            let connect = (connection.opened_at + limits.connect_timeout, Overdue::Connect);
            return [Some(connect), None, None, None, None, None, None, None];
        };
        let session = self.sessions.get(&client.session);
        let hold = session.map(|session| &session.hold);
        let silence_max = client.silence_max.filter(|_| !connection.paused);
        let stuck_since = connection.outgoing.stuck_since();
        let stalled_since = session.and_then(|session| session.stalled_since);
        let waited_for = session.filter(|session| self.is_waited_for(client.session, session));
        let silent_since = waited_for.and_then(|session| self.silent_since(session));
        let tried_at = silent_since.map(|since| since + limits.stalled_after).filter(|at| *at > self.now);
        let out_of_patience = silent_since.max(stalled_since).filter(|_| silent_since.is_some());
        let written_at = hold.and_then(|hold| hold.oldest_written()).map(|w| w.written_at);
        let lifetime = hold.and_then(|hold| hold.next_deadline());
        [
            tried_at.map(|at| (at, Overdue::Patience)),
            out_of_patience.map(|since| (since + limits.patience, Overdue::Stall)),
            self.reauthentication_due(client).map(|at| (at, Overdue::Authentication)),
            silence_max.map(|max| (client.heard_at + max, Overdue::KeepAlive)),
            stuck_since.map(|since| (since + limits.stall_timeout, Overdue::Stall)),
            stalled_since.map(|since| (since + limits.stall_timeout, Overdue::Stall)),
            written_at.map(|at| (at + limits.settle_timeout, Overdue::Settle)),
            lifetime.map(|at| (at, Overdue::Lifetime)),
        ]
    }
}
