use proptest::prelude::*;

use super::*;

fn message(key: &str) -> Message {
    let mut properties = roost_wire::Properties::default();
    properties.set(header::REPLAYED, false);
    Message { exchange: "e".into(), routing_key: key.into(), properties, body: bytes::Bytes::new() }
}

fn publish(token: u64, on_loss: OnLoss) -> Publish {
    Publish { message: message(&format!("k{token}")), mandatory: true, on_loss, token }
}

fn window(tokens: std::ops::Range<u64>, on_loss: OnLoss) -> Window {
    let mut window = Window::new(100);
    tokens.for_each(|token| window.push(publish(token, on_loss)));
    window
}

fn send(window: &mut Window, max: usize) -> Vec<u64> {
    let places = window.send(BootTime::from_micros(1), max);
    places.iter().map(|place| window.at(*place).unwrap().token).collect()
}

fn refused() -> Loss {
    Loss::Refused { reason: "406".into() }
}

fn replayed(window: &Window) -> Vec<bool> {
    window.entries.values().map(|e| e.publish.message.properties.bool(header::REPLAYED).unwrap()).collect()
}

#[test]
fn what_was_in_flight_goes_again_before_newer_ones_and_says_so() {
    let mut window = window(0..5, OnLoss::PublishAgain);
    let places = window.send(BootTime::default(), 3);
    window.confirmed(places[1], Confirm::Ack);
    assert_eq!(window.lost(&Loss::Broken), [(1, Published::Confirmed)]);
    assert_eq!(window.in_flight(), 0);
    assert_eq!(replayed(&window), [true, true, false, false], "0 and 2 were in flight, 3 and 4 never sent");
    window.push(publish(9, OnLoss::PublishAgain));
    assert_eq!(send(&mut window, 64), [0, 2, 3, 4, 9]);
}

#[test]
fn a_message_without_the_header_does_not_get_it() {
    let mut window = Window::new(1);
    let mut plain = publish(1, OnLoss::PublishAgain);
    plain.message.properties.headers.clear();
    window.push(plain.clone());
    let places = window.send(BootTime::default(), 1);
    window.lost(&Loss::Broken);
    assert_eq!(window.at(places[0]), Some(&plain));
}

#[test]
fn a_message_to_be_reported_is_lost_only_if_it_was_in_flight() {
    let mut window = window(0..3, OnLoss::Report);
    send(&mut window, 2);
    assert_eq!(window.lost(&Loss::Broken), [(0, Published::Lost), (1, Published::Lost)]);
    assert_eq!(send(&mut window, 9), [2]);
}

#[test]
fn a_return_is_matched_to_the_first_in_flight_that_looks_like_it() {
    let mut window = Window::new(9);
    for (token, key) in [(0, "a"), (1, "b"), (2, "a"), (3, "b"), (4, "b")] {
        window.push(Publish { message: message(key), mandatory: token != 1, on_loss: OnLoss::Report, token });
    }
    let places = window.send(BootTime::default(), 4);
    assert!(window.returned(312, "NO_ROUTE", &message("b")), "not 1: it is not mandatory");
    assert!(window.returned(312, "NO_ROUTE", &message("a")));
    assert!(!window.returned(312, "NO_ROUTE", &message("b")), "4 was not sent");
    places.iter().for_each(|place| window.confirmed(*place, Confirm::Ack));
    let returned = || Published::Returned { code: 312, text: "NO_ROUTE".into() };
    let expected = [(0, returned()), (1, Published::Confirmed), (2, Published::Confirmed), (3, returned())];
    assert_eq!(window.settle(), expected);
}

#[test]
fn a_nack_wins_over_a_return() {
    let mut window = window(0..1, OnLoss::Report);
    let places = window.send(BootTime::default(), 1);
    window.returned(312, "NO_ROUTE", &message("k0"));
    window.confirmed(places[0], Confirm::Nack);
    window.confirmed(places[0], Confirm::Ack);
    assert_eq!(window.settle(), [(0, Published::Nacked)], "and the second word changes nothing");
}

#[test]
fn a_poisonous_message_is_found_alone_and_refused() {
    let mut window = window(0..4, OnLoss::PublishAgain);
    send(&mut window, 3);
    assert_eq!(window.lost(&refused()), []);
    // One at a time, and no other beside it.
    let first = window.send(BootTime::default(), 64);
    assert_eq!(first.len(), 1);
    assert_eq!(send(&mut window, 64), [0_u64; 0]);
    window.confirmed(first[0], Confirm::Ack);
    assert_eq!(window.settle(), [(0, Published::Confirmed)]);
    assert_eq!(send(&mut window, 64), [1]);
    assert_eq!(window.lost(&refused()), [(1, Published::Refused { reason: "406".into() })]);
    // The next suspect is still sent alone; 3 was never in flight.
    assert_eq!(send(&mut window, 64), [2]);
    assert_eq!(window.lost(&Loss::Broken), []);
    let alone = window.send(BootTime::default(), 64);
    window.confirmed(alone[0], Confirm::Ack);
    assert_eq!(window.settle(), [(2, Published::Confirmed)]);
    window.push(publish(7, OnLoss::Report));
    assert_eq!(send(&mut window, 64), [3, 7]);
}

#[test]
fn a_lone_message_is_not_refused_the_first_time() {
    let mut window = window(0..1, OnLoss::PublishAgain);
    send(&mut window, 1);
    assert_eq!(window.lost(&refused()), []);
    assert_eq!(send(&mut window, 1), [0]);
    assert_eq!(window.lost(&refused()), [(0, Published::Refused { reason: "406".into() })]);
    assert!(window.is_empty());
}

#[derive(Debug, Clone)]
enum Step {
    Push(bool),
    Send(usize),
    Confirm(usize, bool),
    Return(usize),
    Settle,
    Lose(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any::<bool>().prop_map(Step::Push),
        3 => (1..5_usize).prop_map(Step::Send),
        4 => (0..8_usize, any::<bool>()).prop_map(|(at, ack)| Step::Confirm(at, ack)),
        2 => (0..8_usize).prop_map(Step::Return),
        2 => Just(Step::Settle),
        1 => any::<bool>().prop_map(Step::Lose),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever happens: one outcome per message, never more in flight or held than allowed, first sendings in order, and
    /// after a loss everything that may be missing is sent again in order before anything newer.
    #[test]
    fn every_message_has_one_outcome_and_its_place(steps in proptest::collection::vec(step(), 1..80)) {
        const MAX: usize = 6;
        let mut window = Window::new(MAX);
        let mut pushed = 0;
        let mut outcomes = BTreeMap::new();
        let mut flying: Vec<(Place, u64)> = Vec::new();
        let mut newest_sent = None;
        let mut last_on_link = None;
        for step in steps {
            let mut done = Vec::new();
            match step {
                Step::Push(again) if window.room() > 0 => {
                    let on_loss = if again { OnLoss::PublishAgain } else { OnLoss::Report };
                    window.push(publish(pushed, on_loss));
                    pushed += 1;
                }
                Step::Push(_) => prop_assert_eq!(window.tokens().len(), MAX),
                Step::Send(max) => for place in window.send(BootTime::default(), max) {
                    let token = window.at(place).unwrap().token;
                    prop_assert!(last_on_link < Some(token), "order on one link");
                    last_on_link = Some(token);
                    if Some(token) > newest_sent {
                        prop_assert_eq!(token, newest_sent.map_or(0, |token: u64| token + 1), "none is skipped");
                        newest_sent = Some(token);
                    }
                    flying.push((place, token));
                },
                Step::Confirm(at, ack) if at < flying.len() => {
                    let (place, _) = flying.remove(at);
                    window.confirmed(place, if ack { Confirm::Ack } else { Confirm::Nack });
                }
                Step::Return(at) if at < flying.len() => {
                    window.returned(312, "NO_ROUTE", &message(&format!("k{}", flying[at].1)));
                }
                Step::Confirm(..) | Step::Return(_) => {}
                Step::Settle => done = window.settle(),
                Step::Lose(poison) => {
                    let loss = if poison { refused() } else { Loss::Broken };
                    done = window.lost(&loss);
                    flying.clear();
                    last_on_link = None;
                    prop_assert_eq!(window.in_flight(), 0);
                }
            }
            for (token, outcome) in done {
                prop_assert!(token < pushed);
                prop_assert_eq!(outcomes.insert(token, outcome), None, "one outcome for {}", token);
            }
            prop_assert!(window.tokens().len() <= MAX);
        }
        // A last, quiet link confirms the rest.
        let mut done = window.lost(&Loss::Broken);
        while !window.is_empty() {
            let places = window.send(BootTime::default(), 3);
            prop_assert!(!places.is_empty(), "nothing is stuck");
            places.into_iter().for_each(|place| window.confirmed(place, Confirm::Ack));
            done.extend(window.settle());
        }
        for (token, outcome) in done {
            prop_assert_eq!(outcomes.insert(token, outcome), None, "one outcome for {}", token);
        }
        prop_assert_eq!(outcomes.into_keys().collect::<Vec<_>>(), (0..pushed).collect::<Vec<_>>());
    }
}
