//! What clients, time and the backend do: four bytes each, so that a fuzzer may cut, join and change sequences of them.

/// How many clients there are. Those with an even number speak MQTT 5, the others 3.1.1.
pub(crate) const CLIENTS: usize = 4;

/// The topics that are published to; the last one goes to the backend.
pub(crate) const TOPICS: [&str; 5] = ["local/a", "local/a/b", "local/c", "local", "up/x"];

/// What is subscribed to; the last one is none.
pub(crate) const FILTERS: [&str; 8] =
    ["local/a", "local/+", "local/#", "#", "+/a/b", "up/x", "local/a/#", "local/#/b"];

/// A will as its client wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WillWish {
    pub(crate) topic: usize,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) delay_s: u32,
    pub(crate) expiry_s: Option<u32>,
}

/// What a CONNECT asks for. Clients of 3.1.1 cannot say an expiry, a window or a delay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConnectWish {
    pub(crate) clean_start: bool,
    pub(crate) expiry_s: Option<u32>,
    pub(crate) receive_maximum: Option<u16>,
    pub(crate) keep_alive_s: u16,
    pub(crate) topic_aliases: u16,
    pub(crate) will: Option<WillWish>,
}

/// A PUBLISH of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PublishWish {
    pub(crate) topic: usize,
    pub(crate) qos: u8,
    pub(crate) id: u16,
    pub(crate) dup: bool,
    pub(crate) retain: bool,
    pub(crate) is_empty: bool,
    pub(crate) expiry_s: Option<u32>,
}

/// One topic filter of a SUBSCRIBE. Clients of 3.1.1 say the quality of service only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FilterWish {
    pub(crate) filter: usize,
    pub(crate) qos: u8,
    pub(crate) no_local: bool,
    pub(crate) retain_as_published: bool,
    pub(crate) retain_handling: u8,
}

/// A packet that answers one that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Puback,
    Pubrec { refuses: bool },
    Pubcomp,
}

/// One thing that happens. The first number is the client's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Connect(usize, ConnectWish),
    /// DISCONNECT, perhaps with its will, or another expiry.
    Leave {
        client: usize,
        keeps_will: bool,
        expiry_s: Option<u32>,
    },
    /// The connection breaks.
    Break(usize),
    Subscribe {
        client: usize,
        first: FilterWish,
        second: Option<FilterWish>,
        id: Option<u32>,
    },
    Unsubscribe {
        client: usize,
        filter: usize,
    },
    Publish(usize, PublishWish),
    /// The client gives the right answer to the nth packet that it has not answered.
    Acknowledge {
        client: usize,
        nth: usize,
        refuses: bool,
    },
    /// It gives some answer under some id.
    Stray {
        client: usize,
        answer: Answer,
        id: u16,
    },
    Release {
        client: usize,
        id: u16,
    },
    Ping(usize),
    /// The backend confirms the nth event.
    Confirm(usize),
    /// The client's socket takes nothing any more.
    Stick(usize),
    Unstick(usize),
    Pass {
        seconds: u64,
    },
}

const EXPIRIES_S: [Option<u32>; 4] = [None, Some(0), Some(5), Some(3_600)];
const MESSAGE_EXPIRIES_S: [Option<u32>; 8] = [None, None, None, None, None, Some(1), Some(3), Some(10)];

impl Operation {
    /// Every four bytes are one.
    pub(crate) fn decode([kind, a, b, c]: [u8; 4]) -> Self {
        let client = usize::from(a) % CLIENTS;
        let rest = a >> 2;
        let bit = |byte: u8, n: u8| byte >> n & 1 == 1;
        let filter = |byte: u8, options: u8| FilterWish {
            filter: usize::from(byte) % FILTERS.len(),
            qos: options % 3,
            no_local: bit(options, 2),
            retain_as_published: bit(options, 3),
            retain_handling: (options >> 4) % 3,
        };
        match kind % 32 {
            0..=7 => Self::Publish(
                client,
                PublishWish {
                    topic: usize::from(rest) % TOPICS.len(),
                    qos: b % 3,
                    id: 1 + u16::from(c & 7),
                    dup: bit(c, 3),
                    retain: bit(b, 4),
                    is_empty: b >> 5 == 0,
                    expiry_s: MESSAGE_EXPIRIES_S[usize::from(c >> 4 & 7)],
                },
            ),
            8..=13 => Self::Acknowledge { client, nth: usize::from(rest & 3), refuses: b < 16 },
            14 | 15 => Self::Release { client, id: 1 + u16::from(c & 7) },
            16..=18 => Self::Connect(
                client,
                ConnectWish {
                    clean_start: rest & 3 == 0,
                    expiry_s: EXPIRIES_S[usize::from(rest >> 2 & 3)],
                    receive_maximum: [None, None, Some(1), Some(2)][usize::from(b & 3)],
                    keep_alive_s: if b >> 2 & 3 == 0 { 6 } else { 0 },
                    topic_aliases: u16::from(bit(b, 4)),
                    will: bit(b, 5).then(|| WillWish {
                        topic: usize::from(c) % TOPICS.len(),
                        qos: (b >> 6) % 3,
                        retain: bit(c, 4),
                        delay_s: [0, 0, 2, 10][usize::from(c >> 5 & 3)],
                        expiry_s: bit(c, 7).then_some(3),
                    }),
                },
            ),
            19 => Self::Leave { client, keeps_will: bit(rest, 0), expiry_s: EXPIRIES_S[usize::from(b & 3)] },
            20 => Self::Break(client),
            21..=23 => Self::Subscribe {
                client,
                first: filter(rest, b),
                second: (c & 3 == 0).then(|| filter(rest >> 3, c >> 2)),
                id: [None, Some(1), Some(200)][usize::from(c) % 3],
            },
            24 => Self::Unsubscribe { client, filter: usize::from(b) % FILTERS.len() },
            25 => Self::Stray {
                client,
                answer: match b % 4 {
                    0 => Answer::Puback,
                    1 => Answer::Pubrec { refuses: false },
                    2 => Answer::Pubrec { refuses: true },
                    _ => Answer::Pubcomp,
                },
                id: 1 + u16::from(c & 15),
            },
            26 => Self::Ping(client),
            27 | 28 => Self::Confirm(usize::from(rest & 3)),
            29 => Self::Stick(client),
            30 => Self::Unstick(client),
            _ => Self::Pass { seconds: [1, 2, 4, 11][usize::from(b & 3)] },
        }
    }
}
