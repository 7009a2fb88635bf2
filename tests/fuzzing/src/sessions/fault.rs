//! Rules broken on purpose, one at a time: the walk must find each. No core is changed for it: what is broken is what goes in or comes out
//! of one, or the limits that it is given.

use roost_gateway::packet::{Connect, Packet, Publish, RetainHandling, Subscribe};

use super::model::{Heard, Word};

/// A broken rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Some publishes at QoS 1 and 2 do not come.
    PublishLost,
    /// Some come twice.
    PublishTwice,
    /// Two that come together come in the other order.
    PublishesSwapped,
    /// What comes again is not marked.
    DupForgotten,
    /// What was retained is not marked.
    RetainForgotten,
    /// Everything is marked as retained.
    RetainInvented,
    /// A message keeps the expiry that it had.
    ExpiryStands,
    /// A message comes without the identifiers of its subscriptions.
    SubscriptionIdsLost,
    /// A message comes with a lower quality of service.
    QosLowered,
    /// No session is present, ever.
    SessionDenied,
    /// A session is present, always.
    SessionClaimed,
    /// Acknowledgements that leave together leave in the other order.
    AnswersSwapped,
    /// A refusal is told as a success.
    RefusalHidden,
    /// A client that is closed is not told why.
    GoodbyeLost,
    /// Who is taken over stays connected.
    RivalStaysOpen,
    /// PUBACKs do not count.
    PubackIgnored,
    /// PUBCOMPs do not count.
    PubcompIgnored,
    /// A PUBREC that refuses counts as one that does not.
    RefusalOfClientIgnored,
    /// An earlier session is kept whatever the client says.
    CleanStartIgnored,
    /// An earlier session is never kept.
    CleanStartInvented,
    /// A session is kept for no longer than its connection.
    SessionExpiryLost,
    /// The client's receive maximum is not kept.
    ReceiveMaximumIgnored,
    /// Silence ends no connection.
    KeepAliveIgnored,
    /// Wills are not taken.
    WillLost,
    /// Wills are published at once.
    WillDelayIgnored,
    /// A goodbye with the will discards it.
    WillDiscarded,
    /// Nothing is retained.
    NothingRetained,
    /// Messages do not expire.
    MessageExpiryLost,
    /// Who does not want its own messages gets them.
    NoLocalIgnored,
    /// RETAIN is not kept for who wants it as it was.
    RetainAsPublishedIgnored,
    /// Retained messages come whatever the subscriber says.
    RetainHandlingIgnored,
    /// What comes again at QoS 2 comes under an id of its own.
    RepeatUnderAnotherId,
    /// Queues of sessions that are away have no bound.
    QueueEndless,
    /// Nothing happens by itself.
    TimersStand,
    /// The backend's confirmation counts for another event.
    ConfirmationMisplaced,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 35] = [
        Self::PublishLost,
        Self::PublishTwice,
        Self::PublishesSwapped,
        Self::DupForgotten,
        Self::RetainForgotten,
        Self::RetainInvented,
        Self::ExpiryStands,
        Self::SubscriptionIdsLost,
        Self::QosLowered,
        Self::SessionDenied,
        Self::SessionClaimed,
        Self::AnswersSwapped,
        Self::RefusalHidden,
        Self::GoodbyeLost,
        Self::RivalStaysOpen,
        Self::PubackIgnored,
        Self::PubcompIgnored,
        Self::RefusalOfClientIgnored,
        Self::CleanStartIgnored,
        Self::CleanStartInvented,
        Self::SessionExpiryLost,
        Self::ReceiveMaximumIgnored,
        Self::KeepAliveIgnored,
        Self::WillLost,
        Self::WillDelayIgnored,
        Self::WillDiscarded,
        Self::NothingRetained,
        Self::MessageExpiryLost,
        Self::NoLocalIgnored,
        Self::RetainAsPublishedIgnored,
        Self::RetainHandlingIgnored,
        Self::RepeatUnderAnotherId,
        Self::QueueEndless,
        Self::TimersStand,
        Self::ConfirmationMisplaced,
    ];

    /// Breaks what a client has read.
    pub(super) fn spoil_words(self, words: &mut Vec<Word>, turn: usize) {
        match self {
            Self::PublishLost => words.retain(|word| !(turn.is_multiple_of(5) && is_acknowledged(word))),
            Self::PublishTwice => {
                if let Some(at) =
                    words.iter().position(|word| turn.is_multiple_of(5) && is_acknowledged(word))
                {
                    words.insert(at, words[at].clone());
                }
            }
            Self::PublishesSwapped => swap_first_two(words, is_acknowledged),
            Self::AnswersSwapped => {
                swap_first_two(words, |word| matches!(word, Word::Puback { .. } | Word::Pubrec { .. }));
            }
            Self::GoodbyeLost => words.retain(|word| !matches!(word, Word::Disconnect { .. })),
            Self::RivalStaysOpen => {
                let is_rival = words.contains(&Word::Disconnect { reason: 0x8E });
                words.retain(|word| !(is_rival && *word == Word::Closed));
            }
            _ => words.iter_mut().for_each(|word| self.spoil_word(word)),
        }
    }

    fn spoil_word(self, word: &mut Word) {
        match (self, word) {
            (Self::DupForgotten, Word::Publish(heard)) => heard.dup = false,
            (Self::RetainForgotten, Word::Publish(heard)) => heard.retain = false,
            (Self::RetainInvented, Word::Publish(heard)) => heard.retain = true,
            (Self::ExpiryStands, Word::Publish(Heard { expiry_s: Some(s), .. })) if *s < 10 => *s += 1,
            (Self::SubscriptionIdsLost, Word::Publish(heard)) => heard.subscription_ids.clear(),
            (Self::QosLowered, Word::Publish(heard)) if heard.qos == 2 => heard.qos = 1,
            (Self::SessionDenied, Word::Connack { session_present, .. }) => *session_present = false,
            (Self::SessionClaimed, Word::Connack { session_present, .. }) => *session_present = true,
            (Self::RefusalHidden, Word::Puback { reason, .. } | Word::Pubrec { reason, .. })
                if *reason >= 0x80 =>
            {
                *reason = 0;
            }
            _ => {}
        }
    }

    /// Breaks what a client has sent; false if it does not arrive at all.
    pub(super) fn spoil_packet(self, packet: &mut Packet) -> bool {
        match packet {
            Packet::Puback(_) => return self != Self::PubackIgnored,
            Packet::Pubcomp(_) => return self != Self::PubcompIgnored,
            Packet::Pubrec(ack) if self == Self::RefusalOfClientIgnored => ack.reason = Default::default(),
            Packet::Disconnect(goodbye) if self == Self::WillDiscarded => goodbye.reason = Default::default(),
            Packet::Connect(connect) => self.spoil_connect(connect),
            Packet::Publish(publish) => self.spoil_publish(publish),
            Packet::Subscribe(subscribe) => self.spoil_subscribe(subscribe),
            _ => {}
        }
        true
    }

    fn spoil_connect(self, connect: &mut Connect) {
        match self {
            Self::CleanStartIgnored => connect.clean_start = false,
            Self::CleanStartInvented => connect.clean_start = true,
            Self::SessionExpiryLost => connect.properties.session_expiry_interval_s = None,
            Self::ReceiveMaximumIgnored => connect.properties.receive_maximum = None,
            Self::KeepAliveIgnored => connect.keep_alive_s = 0,
            Self::WillLost => connect.will = None,
            Self::WillDelayIgnored => {
                if let Some(will) = &mut connect.will {
                    will.properties.delay_interval_s = None;
                }
            }
            _ => {}
        }
    }

    fn spoil_publish(self, publish: &mut Publish) {
        match self {
            Self::NothingRetained => publish.retain = false,
            Self::MessageExpiryLost => publish.properties = None,
            Self::RepeatUnderAnotherId => publish.delivery = super::walk::under_another_id(publish.delivery),
            _ => {}
        }
    }

    fn spoil_subscribe(self, subscribe: &mut Subscribe) {
        for filter in &mut subscribe.filters {
            match self {
                Self::NoLocalIgnored => filter.options.no_local = false,
                Self::RetainAsPublishedIgnored => filter.options.retain_as_published = false,
                Self::RetainHandlingIgnored => filter.options.retain_handling = RetainHandling::SendAlways,
                _ => {}
            }
        }
    }
}

fn is_acknowledged(word: &Word) -> bool {
    matches!(word, Word::Publish(heard) if heard.qos > 0)
}

fn swap_first_two(words: &mut [Word], is_it: impl Fn(&Word) -> bool) {
    let mut places = (0..words.len()).filter(|at| is_it(&words[*at]));
    if let (Some(first), Some(second)) = (places.next(), places.next()) {
        words.swap(first, second);
    }
}
