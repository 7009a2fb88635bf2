use roost_fleet::NumberSet;

use super::*;

const RUN: u32 = 7;

fn at(ms: u64) -> BootTime {
    BootTime::from_micros(ms * 1_000)
}

fn event(device: u32, sequence: u32, intended: BootTime) -> Vec<u8> {
    Stamp { kind: Kind::Event, run: RUN, device, sequence, intended }.payload(0).to_vec()
}

fn records(device: u32, acknowledged: &[u32], commands: &[u32]) -> Records {
    let mut records =
        Records { device, acknowledged: acknowledged.iter().copied().collect(), ..Records::default() };
    for number in commands {
        records.commands.note(*number);
    }
    records
}

#[test]
fn an_acknowledged_event_that_nobody_heard_is_lost_and_named() {
    let mut books = Books::new(RUN);
    books.event(at(2), &event(4, 0, at(1)));
    books.event(at(2), &event(4, 2, at(1)));
    books.told(vec![records(4, &[0, 1], &[])]);
    let verdict = books.at_the_end(1, 0, false);
    assert_eq!((verdict.acknowledged, verdict.events_lost, verdict.lost()), (2, 1, 1));
    assert_eq!(verdict.examples, ["event 4/1"]);
    assert!(!verdict.is_good());
    // A later one was heard: it is lost. Of the last one it is not known yet.
    books.told(vec![records(4, &[0, 1, 2, 3], &[])]);
    let so_far = books.so_far(0);
    assert_eq!((so_far.events_lost, so_far.events_late), (1, 1));
    assert_eq!(books.at_the_end(1, 0, false).events_lost, 2);
    books.told(vec![records(4, &[0, 1], &[])]);
    books.event(at(9), &event(4, 1, at(1)));
    assert!(books.at_the_end(1, 0, false).is_good());
    assert!(!books.at_the_end(2, 0, false).is_good(), "a device is missing");
}

#[test]
fn what_nobody_acknowledged_does_not_stand_in_for_what_is_still_to_come() {
    let mut books = Books::new(RUN);
    books.told(vec![records(1, &[0], &[]), records(2, &[], &[])]);
    // As many as were acknowledged have come, and yet one that was has not.
    books.event(at(2), &event(2, 0, at(1)));
    assert!(!books.have_all_events());
    books.event(at(3), &event(1, 0, at(1)));
    assert!(books.have_all_events());
}

#[test]
fn a_repeated_event_is_allowed_only_across_a_break() {
    let mut books = Books::new(RUN);
    books.event(at(2), &event(1, 0, at(1)));
    books.broken(at(10));
    books.whole(at(20));
    books.event(at(12), &event(1, 0, at(1)));
    assert_eq!((books.so_far(0).duplicated(), books.so_far(0).repeated()), (0, 1));
    books.event(at(31), &event(1, 1, at(30)));
    books.event(at(32), &event(1, 1, at(30)));
    assert_eq!((books.so_far(0).duplicated(), books.so_far(0).repeated()), (1, 1));
}

#[test]
fn a_command_that_a_receipt_says_is_delivered_must_be_with_its_device() {
    let mut books = Books::new(RUN);
    books.commands.confirmed.insert(1, (0..3).collect());
    books.commands.finals.insert(1, (0..2).collect());
    books.commands.delivered.insert(1, (0..2).collect());
    books.told(vec![records(1, &[], &[0])]);
    let verdict = books.at_the_end(1, 0, false);
    assert_eq!((verdict.commands_lost, verdict.unfinished), (1, 1));
    let early = books.at_the_end(1, 0, true);
    assert_eq!((early.commands_lost, early.unfinished, early.commands_on_their_way), (1, 0, 1));
    // While it runs, what was delivered since devices were asked is not held against them.
    assert_eq!(books.so_far(0).commands_lost, 0);
    assert_eq!(books.so_far(0).commands_lost, 1);
    books.commands.finals.insert(1, NumberSet::from_iter(0..3));
    books.told(vec![records(1, &[], &[0, 1, 1])]);
    assert_eq!(
        (books.at_the_end(1, 0, false).repeated(), books.at_the_end(1, 1, false).duplicated()),
        (1, 1)
    );
    assert!(books.at_the_end(1, 0, false).is_good());
}

#[test]
fn an_id_is_found_again_and_a_strangers_is_not() {
    let books = Books::new(RUN);
    assert_eq!(books.read_id(&books.id(12, 34)), Some((12, 34)));
    assert_eq!(Books::new(8).read_id(&books.id(12, 34)), None);
}
