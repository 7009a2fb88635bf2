//! The sessions of a shard. Where there is a store, it is noted which of them somebody has had in hand to change it: whoever changes one
//! need not think of the disk, and nobody looks at all of them.

use std::collections::HashMap;
use std::ops::Index;

use roost_wire::Device;

use crate::placement::Numbered;
use crate::session::{Session, SessionKey};

/// By their keys.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    /// Each in a place of its own: a table is at most seven eighths full, and half of that when it has just grown.
    by_key: HashMap<SessionKey, Box<Session>, Numbered>,
    is_noted: bool,
    /// Those that may have changed since somebody asked, once each. Asked after each input.
    touched: Vec<SessionKey>,
    /// The devices whose sessions the disk has, and that have ended since.
    ended: Vec<Device>,
}

impl Sessions {
    /// From now on it is noted which are changed.
    pub(super) fn note_changes(&mut self) {
        self.is_noted = true;
    }

    /// One of those that may have changed, and then the next.
    pub(super) fn next_touched(&mut self) -> Option<(SessionKey, &mut Session)> {
        loop {
            let key = self.touched.pop()?;
            // Twice for the borrow checker: a session that is not there any more is passed over.
            if self.by_key.contains_key(&key) {
                let session = self.by_key.get_mut(&key)?;
                session.disk.is_touched = false;
                return Some((key, session));
            }
        }
    }

    /// The devices whose sessions the disk has to forget.
    pub(super) fn take_ended(&mut self) -> Vec<Device> {
        std::mem::take(&mut self.ended)
    }

    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(super) fn get(&self, key: &SessionKey) -> Option<&Session> {
        self.by_key.get(key).map(|session| &**session)
    }

    /// To change it.
    pub(super) fn touch(&mut self, key: &SessionKey) -> Option<&mut Session> {
        let session = self.by_key.get_mut(key)?;
        if self.is_noted && !session.disk.is_touched {
            session.disk.is_touched = true;
            self.touched.push(*key);
        }
        Some(session)
    }

    pub(super) fn insert(&mut self, key: SessionKey, session: Session) {
        self.by_key.insert(key, Box::new(session));
    }

    pub(super) fn remove(&mut self, key: &SessionKey) -> Option<Session> {
        let session = *self.by_key.remove(key)?;
        if session.disk.is_there {
            self.ended.push(session.device.clone());
        }
        Some(session)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&SessionKey, &Session)> {
        self.by_key.iter().map(|(key, session)| (key, &**session))
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Session> {
        self.by_key.values().map(|session| &**session)
    }
}

impl Index<&SessionKey> for Sessions {
    type Output = Session;

    fn index(&self, key: &SessionKey) -> &Session {
        &self.by_key[key]
    }
}
