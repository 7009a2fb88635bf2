//! Two shards of one process: nothing assumes that there is one.

use std::time::Duration;

use bytes::BytesMut;
use roost_wire::{
    BootTime, CommandId, Incarnation, LinkId, Now, Outcome, RouterRun, SessionId, Settlement, SettlementItem,
    SettlementReport, ShardId, Sighting, SightingReport, SyncNumber, mesh::Report,
};

use super::world::*;
use crate::link::{FromShard, Link, LinkConfig, LinkInput, LinkOutput, ToShard};
use crate::packet::{DecodeLimits, Decoder, Encoder, Packet, ReasonCode};
use crate::shard::{Backend, Input, Output, Shard, ShardConfig};
use crate::{ConnectionId, Placement, PublishOutcome, ShardIndex};

fn shard(index: u16) -> Shard {
    shard_with(index, crate::Authentication::default())
}

fn shard_with(index: u16, authentication: crate::Authentication) -> Shard {
    let (gateway, region) = ("eu-1".parse().unwrap(), "eu".parse().unwrap());
    Shard::new(ShardConfig {
        placement: Placement::new(ShardIndex(index), 2),
        limits: limits(),
        authentication,
        ..ShardConfig::new(gateway, region, Incarnation(1), 3)
    })
}

#[test]
fn a_connection_goes_to_the_shard_of_its_device_and_an_assigned_id_stays() {
    let mut shards = [shard(0), shard(1)];
    let now = Now::default();
    let mut moved = 0;
    for n in 0..20 {
        let connection = ConnectionId(n);
        let name = if n % 2 == 0 { format!("d{n}") } else { String::new() };
        let mut bytes = BytesMut::new();
        let connect = Packet::Connect(Box::new(connect_packet(V5, &name)));
        let encoder = Encoder::new(V5);
        encoder.encode(&connect, &mut bytes).unwrap();
        encoder.encode(&Packet::Pingreq, &mut bytes).unwrap();
        shards[0].handle(now, Input::Opened { connection, entropy: n });
        shards[0].handle(now, Input::Received { connection, bytes });
        let mut answered = BytesMut::new();
        let mut at = 0;
        while let Some(output) = shards[at].poll_output() {
            match output {
                Output::HandOver { to, hand_over } => {
                    assert!(at == 0 && to == ShardIndex(1) && hand_over.connection() == connection);
                    moved += 1;
                    at = 1;
                    shards[1].handle(now, Input::HandedOver(hand_over));
                }
                Output::Write { bytes, .. } => answered.extend_from_slice(&bytes),
                _ => {}
            }
        }
        assert!(at == 0 || !name.is_empty(), "an assigned id is drawn for the accepting shard");
        let mut decoder = Decoder::for_client(V5, DecodeLimits::default());
        assert!(matches!(decoder.decode(&mut answered), Ok(Some(Packet::Connack(_)))));
        assert!(
            matches!(decoder.decode(&mut answered), Ok(Some(Packet::Pingresp))),
            "what was unread goes along"
        );
    }
    assert!((1..10).contains(&moved), "{moved}");
    let sessions: usize = shards.iter().map(|shard| shard.gauges().sessions_connected).sum();
    assert_eq!((sessions, shards[0].gauges().connections + shards[1].gauges().connections), (20, 20));
}

/// Who it is is asked where it connects, and known where its device belongs.
#[test]
fn a_login_goes_along_to_the_shard_of_its_device() {
    let mut shards = [0, 1].map(|index| shard_with(index, users(false)));
    let placement = Placement::new(ShardIndex(0), 2);
    let elsewhere =
        |name: &String| placement.shard_of(&name.parse().expect("it is a device")) == ShardIndex(1);
    let name = (0..99).map(|n| format!("d{n}")).find(elsewhere).expect("half of them are");
    let (now, connection, encoder) = (Now::default(), ConnectionId(1), Encoder::new(V5));
    let mut login = ScramClient::new("ann", "apple");
    let bytes_of = |packet: Packet| {
        let mut bytes = BytesMut::new();
        encoder.encode(&packet, &mut bytes).unwrap();
        bytes
    };
    let connect = with_login(connect_packet(V5, &name), &login.first());
    let bytes = bytes_of(Packet::Connect(Box::new(connect)));
    shards[0].handle(now, Input::Opened { connection, entropy: 1 });
    shards[0].handle(now, Input::Received { connection, bytes });
    let asked = loop {
        match shards[0].poll_output().expect("it is asked where it connects") {
            Output::Write { connection, bytes } => {
                shards[0].handle(now, Input::Written { connection, bytes: bytes.len() });
                break BytesMut::from(bytes);
            }
            Output::HandOver { .. } => panic!("nobody knows who it is"),
            _ => {}
        }
    };
    let mut decoder = Decoder::for_client(V5, DecodeLimits::default());
    let mut read = |mut bytes: BytesMut| decoder.decode(&mut bytes).unwrap().expect("a whole packet");
    let Packet::Auth(auth) = read(asked) else { panic!("AUTH") };
    let last = login.last(auth.data().unwrap().expose());
    let bytes = bytes_of(auth_packet(ReasonCode::ContinueAuthentication, &last));
    shards[0].handle(now, Input::Received { connection, bytes });
    while let Some(output) = shards[0].poll_output() {
        if let Output::HandOver { hand_over, .. } = output {
            shards[1].handle(now, Input::HandedOver(hand_over));
        }
    }
    let answer = std::iter::from_fn(|| shards[1].poll_output()).find_map(|output| match output {
        Output::Write { bytes, .. } => Some(BytesMut::from(bytes)),
        _ => None,
    });
    let Packet::Connack(connack) = read(answer.expect("it is answered there")) else { panic!("CONNACK") };
    assert!(login.trusts(connack.properties.unwrap().authentication_data.unwrap().expose()));
    // And it is known there who it is: it may show it again.
    let mut again = ScramClient::new("ann", "apple");
    let bytes = bytes_of(auth_packet(ReasonCode::ReAuthenticate, &again.first()));
    let written = Input::Written { connection, bytes: 1_000 };
    shards[1].handle(now, written);
    shards[1].handle(now, Input::Received { connection, bytes });
    let asked = std::iter::from_fn(|| shards[1].poll_output()).find_map(|output| match output {
        Output::Write { bytes, .. } => Some(BytesMut::from(bytes)),
        _ => None,
    });
    let Packet::Auth(auth) = read(asked.expect("it is asked there")) else { panic!("AUTH") };
    assert!(!again.last(auth.data().unwrap().expose()).is_empty());
}

struct Both {
    link: Link,
    now: Now,
    sightings: Vec<Sighting>,
    settlements: Vec<SettlementItem>,
    words: Vec<(ShardIndex, ToShard)>,
}

impl Both {
    fn new() -> Self {
        let link = Link::new(LinkConfig {
            gateway: "eu-1".parse().unwrap(),
            region: "eu".parse().unwrap(),
            incarnation: Incarnation(1),
            router: ShardId(0),
            shards: 2,
            heartbeat: Duration::from_secs(3),
            lease: Duration::from_secs(10),
            exchange: "roost.mesh".to_owned(),
            sightings_key: "sightings.0".to_owned(),
            settle_key: "settle.0".to_owned(),
            user: None,
            moves_sessions: true,
        });
        Self { link, now: Now::default(), sightings: Vec::new(), settlements: Vec::new(), words: Vec::new() }
    }

    fn input(&mut self, input: LinkInput) {
        self.link.handle(self.now, input);
        while let Some(output) = self.link.poll_output() {
            match output {
                LinkOutput::ToShard { shard, word } => self.words.push((shard, word)),
                LinkOutput::Superseded { by } => panic!("nobody has said so: {by}"),
                LinkOutput::Publish(report) => {
                    let body = &report.message.body;
                    if report.message.routing_key == "sightings.0" {
                        self.sightings.extend(SightingReport::from_body(body).unwrap().items);
                    } else if let SettlementReport::Gateway { items, .. } =
                        SettlementReport::from_body(body).unwrap()
                    {
                        self.settlements.extend(items);
                    }
                    let outcome = PublishOutcome::Confirmed;
                    self.link.handle(self.now, LinkInput::Published { token: report.token, outcome });
                }
            }
        }
    }

    fn say(&mut self, shard: u16, word: FromShard) {
        self.input(LinkInput::FromShard { shard: ShardIndex(shard), word });
    }
}

fn settled(sequence: u64) -> FromShard {
    FromShard::Settlement(SettlementItem::Settled(Settlement {
        command: CommandId { journal: 1, sequence },
        device: "d".parse().unwrap(),
        session: SessionId(1),
        epoch: epoch(1, 1),
        outcome: Outcome::Delivered,
    }))
}

#[test]
fn what_a_shard_says_behind_its_list_stands_behind_the_sync_and_the_snapshot() {
    let mut both = Both::new();
    both.input(LinkInput::Backend(Backend::Up));
    both.input(LinkInput::Up { link: LinkId(1), inbox: "i".to_owned(), control: "c".to_owned() });
    let number = SyncNumber(1);
    let asked = |word: ToShard| both.words.iter().filter(|(_, w)| *w == word).count();
    assert_eq!((asked(ToShard::ListInFlight { number }), asked(ToShard::ListPresent)), (2, 2));

    both.say(0, FromShard::InFlight { number, list: Vec::new() });
    both.say(0, settled(10));
    both.say(1, settled(11));
    both.say(1, FromShard::InFlight { number: SyncNumber(0), list: Vec::new() });
    both.say(1, FromShard::InFlight { number, list: Vec::new() });
    let order: Vec<_> = both
        .settlements
        .iter()
        .map(|item| match item {
            SettlementItem::Settled(s) => s.command.sequence,
            SettlementItem::Sync { .. } => 0,
            SettlementItem::Subscribed { .. } => panic!("{item:?}"),
        })
        .collect();
    assert_eq!(order, [11, 0, 10]);

    both.sightings.clear();
    let gone =
        |n| FromShard::Sighting(Sighting::Gone { device: "d".parse().unwrap(), session: SessionId(n) });
    both.say(0, FromShard::Present(Vec::new()));
    both.say(0, gone(10));
    both.say(1, gone(11));
    both.say(1, FromShard::Present(Vec::new()));
    let order: Vec<_> = both
        .sightings
        .iter()
        .map(|sighting| match sighting {
            Sighting::Gone { session, .. } => session.0,
            Sighting::Snapshot { .. } => 0,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(order, [11, 0, 10]);
}

#[test]
fn questions_go_to_the_shard_of_the_device_and_the_lease_to_all() {
    let mut both = Both::new();
    both.input(LinkInput::Backend(Backend::Up));
    both.input(LinkInput::Up { link: LinkId(1), inbox: "i".to_owned(), control: "c".to_owned() });
    both.words.clear();
    let ask = |n: u64| roost_wire::Control::Ask {
        question: roost_wire::QuestionId(n),
        device: format!("d{n}").parse().unwrap(),
    };
    let mut items: Vec<_> = (0..20).map(ask).collect();
    items.push(roost_wire::Control::HeartbeatAnswer {
        number: 1,
        answered_at: BootTime::default(),
        moves_sessions: true,
    });
    let report = roost_wire::ControlReport { shard: ShardId(0), run: RouterRun(1), items };
    both.input(LinkInput::Control { link: LinkId(1), report });
    let placement = Placement::new(ShardIndex(0), 2);
    let mut leases = 0;
    for (shard, word) in &both.words {
        match word {
            ToShard::Ask { device, .. } => assert_eq!(*shard, placement.shard_of(device)),
            ToShard::Lease { until } => {
                leases += 1;
                assert_eq!(*until, BootTime::default() + Duration::from_secs(10));
            }
            _ => {}
        }
    }
    assert_eq!(leases, 2);
}
