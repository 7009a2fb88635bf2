//! What the threads of a gateway tell each other: a letter box for each, which its thread empties in one go.
//!
//! What is said within one turn of a thread leaves together, behind everything else that was ready in that turn: then one lock and one
//! wake-up serve for as many words as there were. The cores bound how much may be on its way.

use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::ShardIndex;
use crate::shard::{HandOver, Input, Output, ShardWord};

/// A letter to one thread.
#[derive(Debug)]
pub(super) enum Mail {
    /// From another shard, in its order.
    Words { from: ShardIndex, words: Vec<ShardWord> },
    /// From the hub.
    Input(Box<Input>),
    /// A connection whose device belongs to this shard.
    Connection(std::net::TcpStream, Box<HandOver>),
    /// To the hub: what a shard asks for that is not its own to do, in its order.
    Asked { shard: ShardIndex, outputs: Vec<Output> },
    /// From the hub: say when all that came before this is taken in, and all that was said for it is delivered.
    Fence,
    /// To the hub: it is.
    Fenced,
}

/// One for each shard, the first of them with the hub.
pub(super) type LetterBoxes = Arc<[LetterBox]>;

#[derive(Debug, Default)]
pub(super) struct LetterBox {
    mail: Mutex<Vec<Mail>>,
    is_full: Notify,
}

impl LetterBox {
    fn put(&self, mail: &mut Vec<Mail>) {
        let mut kept = self.mail.lock().unwrap_or_else(PoisonError::into_inner);
        let was_empty = kept.is_empty();
        kept.append(mail);
        drop(kept);
        // Whoever has filled an empty box has woken its thread.
        if was_empty {
            self.is_full.notify_one();
        }
    }

    fn empty(&self, mail: &mut Vec<Mail>) {
        std::mem::swap(mail, &mut *self.mail.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// The letter box of one thread, for that thread.
pub(super) struct MyLetterBox {
    boxes: LetterBoxes,
    here: usize,
}

impl MyLetterBox {
    /// Waits until there is something, and takes all of it: into an empty vector, whose room is used again.
    pub(super) async fn take(&self, mail: &mut Vec<Mail>) {
        while mail.is_empty() {
            self.boxes[self.here].is_full.notified().await;
            self.boxes[self.here].empty(mail);
        }
    }
}

/// The outgoing mail of one thread.
#[derive(Debug)]
pub(super) struct Post {
    here: ShardIndex,
    boxes: LetterBoxes,
    /// By whom it is for.
    outgoing: Vec<Vec<Mail>>,
    /// Woken when there is something to be delivered.
    pub(super) waits: Rc<Notify>,
}

/// Where the hub is.
pub(super) const HUB: ShardIndex = ShardIndex(0);

impl Post {
    pub(super) fn new(here: ShardIndex, boxes: LetterBoxes) -> Self {
        let outgoing = boxes.iter().map(|_| Vec::new()).collect();
        Self { here, boxes, outgoing, waits: Rc::default() }
    }

    /// What comes for this thread.
    pub(super) fn letter_box(&self) -> MyLetterBox {
        MyLetterBox { boxes: Arc::clone(&self.boxes), here: usize::from(self.here.0) }
    }

    /// How many shards there are.
    pub(super) fn shards(&self) -> u16 {
        // As many as an index has.
        self.boxes.len() as u16
    }

    pub(super) fn word(&mut self, to: ShardIndex, word: ShardWord) {
        let from = self.here;
        match self.to(to).last_mut() {
            Some(Mail::Words { words, .. }) => words.push(word),
            _ => self.put(to, Mail::Words { from, words: vec![word] }),
        }
    }

    pub(super) fn ask_hub(&mut self, output: Output) {
        let shard = self.here;
        match self.to(HUB).last_mut() {
            Some(Mail::Asked { outputs, .. }) => outputs.push(output),
            _ => self.put(HUB, Mail::Asked { shard, outputs: vec![output] }),
        }
    }

    pub(super) fn input(&mut self, to: ShardIndex, input: Input) {
        self.put(to, Mail::Input(Box::new(input)));
    }

    pub(super) fn connection(
        &mut self,
        to: ShardIndex,
        stream: std::net::TcpStream,
        hand_over: Box<HandOver>,
    ) {
        self.put(to, Mail::Connection(stream, hand_over));
    }

    /// Says to the hub that a fence is reached.
    pub(super) fn fenced(&mut self) {
        self.put(HUB, Mail::Fenced);
    }

    /// Puts a fence in front of all others; gives how many there are.
    pub(super) fn raise_fences(&mut self) -> usize {
        let others = (0..self.shards()).map(ShardIndex).filter(|shard| *shard != self.here);
        let others: Vec<_> = others.collect();
        others.iter().for_each(|shard| self.put(*shard, Mail::Fence));
        others.len()
    }

    /// Gives out what there is: to the hub last, so that what one shard says to another is there before the hub hears of it.
    pub(super) fn deliver(&mut self) {
        for (to, mail) in self.boxes.iter().zip(&mut self.outgoing).rev() {
            if !mail.is_empty() {
                to.put(mail);
            }
        }
    }

    fn put(&mut self, to: ShardIndex, mail: Mail) {
        self.to(to).push(mail);
        self.waits.notify_one();
    }

    fn to(&mut self, to: ShardIndex) -> &mut Vec<Mail> {
        &mut self.outgoing[usize::from(to.0)]
    }
}
