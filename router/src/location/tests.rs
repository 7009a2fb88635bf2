mod histories;
mod scripted;

use super::*;

fn device(text: &str) -> Device {
    text.parse().unwrap()
}

fn gateway(text: &str) -> GatewayId {
    text.parse().unwrap()
}

fn interval((earliest_micros, latest_micros): (i64, i64)) -> Interval {
    Interval { earliest_micros, latest_micros }
}

fn location(at: &str, session: u64, accepted: u64, interval: Option<(i64, i64)>) -> Location {
    let interval = interval.map(self::interval);
    Location {
        moved: false,
        doubted: false,
        outlived: Vec::new(),
        gateway: gateway(at),
        region: "eu".parse().unwrap(),
        incarnation: Incarnation(1),
        session: SessionId(session),
        accepted_at: BootTime::from_micros(accepted),
        interval,
        since: Now::default(),
        online: true,
    }
}

fn later(micros: u64) -> Now {
    Now { boot: BootTime::from_micros(micros), ..Now::default() }
}

/// Takes in an acceptance; every gateway can be asked.
fn accept(table: &mut Locations, name: &str, new: Location) -> Acceptance {
    table.accept(&device(name), new, |_| true)
}

fn taken(mut winner: Location, losers: &[Location]) -> Acceptance {
    winner.outlives(losers);
    let losers = losers.to_vec();
    let winner = Some(winner);
    Acceptance::Taken(Resolution { winner, is_new: true, losers, forgotten: None, is_unasked: false })
}

#[test]
fn the_later_of_two_disjoint_acceptances_wins_however_late_it_arrives() {
    let old = location("g1", 1, 1, Some((10, 20)));
    let new = location("g2", 1, 1, Some((30, 40)));

    let mut table = Locations::new(10, 10);
    accept(&mut table, "d", old.clone());
    assert_eq!(accept(&mut table, "d", new.clone()), taken(new.clone(), std::slice::from_ref(&old)));

    let mut table = Locations::new(10, 10);
    accept(&mut table, "d", new.clone());
    assert_eq!(accept(&mut table, "d", old), Acceptance::Older { elsewhere: true }, "its sighting was late");
    assert_eq!(table.find(&device("d")), Some(&new));
}

/// Its gateway was out of touch for a while, and announces what it has.
#[test]
fn what_was_found_to_be_older_stays_so_when_the_clocks_do_not_tell_any_more() {
    let d = device("d");
    let old = location("g1", 7, 1, Some((10, 20)));
    let new = location("g2", 1, 1, Some((30, 40)));
    let again = Location { interval: Some(interval((10, 35))), ..old.clone() };
    let mut table = Locations::new(10, 10);
    accept(&mut table, "d", old.clone());
    accept(&mut table, "d", new.clone());
    let older = Acceptance::Older { elsewhere: true };
    assert_eq!(accept(&mut table, "d", again.clone()), older);
    assert_eq!(accept(&mut table, "d", Location { session: SessionId(6), ..again.clone() }), older);

    // Also where it was decided and not known, and beyond the next move.
    let mut table = Locations::new(10, 10);
    accept(&mut table, "d", again.clone());
    accept(&mut table, "d", new);
    let question = table.ask(&d, || QuestionId(1)).unwrap().0;
    for (at, session) in [("g1", 7), ("g2", 1)] {
        table.claimed(later(1), question, &d, (&gateway(at), SessionId(session))).unwrap();
    }
    assert_eq!(table.find(&d).unwrap().gateway, gateway("g2"));
    assert_eq!(accept(&mut table, "d", again.clone()), older);
    accept(&mut table, "d", location("g3", 1, 1, Some((50, 60))));
    assert_eq!(accept(&mut table, "d", again.clone()), older);

    // Another session of that gateway may be newer, and of one that is gone nothing is remembered.
    let contested = Acceptance::Contested { losers: Vec::new() };
    let unknown = Location { session: SessionId(8), interval: None, ..again };
    assert_eq!(accept(&mut table, "d", unknown), contested);
    assert_eq!(table.find(&d).unwrap().outlived.len(), 2);
    table.gone(later(70), &d, &gateway("g1"), Incarnation(1), SessionId(7));
    assert_eq!(table.find(&d).unwrap().outlived.len(), 1);
}

#[test]
fn of_two_overlapping_acceptances_nobody_wins_before_both_are_asked() {
    let cases =
        [(Some((10, 20)), Some((20, 40))), (None, Some((1, 2))), (Some((100, 200)), None), (None, None)];
    for (first, second) in cases {
        let mut table = Locations::new(10, 10);
        let (first, second) = (location("g1", 1, 1, first), location("g2", 1, 1, second));
        accept(&mut table, "d", first.clone());
        let contested = Acceptance::Contested { losers: Vec::new() };
        assert_eq!(accept(&mut table, "d", second.clone()), contested, "{first:?} {second:?}");
        assert_eq!(table.find(&device("d")), Some(&first), "the record stays meanwhile");
        assert_eq!(accept(&mut table, "d", second), Acceptance::Known, "read twice");
        assert_eq!(table.claimants(&device("d")), ["g1", "g2"].map(gateway));
    }
}

/// A table in which g1 and g2 claim the device, and the question.
fn contested() -> (Locations, QuestionId) {
    let mut table = Locations::new(10, 10);
    accept(&mut table, "d", location("g1", 1, 1, None));
    accept(&mut table, "d", location("g2", 2, 1, None));
    let (question, asked) = table.ask(&device("d"), || QuestionId(7)).unwrap();
    assert_eq!((question, asked), (QuestionId(7), ["g1", "g2"].map(gateway).to_vec()));
    (table, question)
}

/// Where the device is, and whom it cost its session, if the contest is over.
fn outcome(change: &Change) -> Option<(Option<String>, Vec<String>)> {
    let name = |location: &Location| location.gateway.to_string();
    let resolved = change.resolved.as_ref()?;
    Some((resolved.winner.as_ref().map(name), resolved.losers.iter().map(name).collect()))
}

fn won(winner: &str, losers: &[&str]) -> Option<(Option<String>, Vec<String>)> {
    Some((Some(winner.to_owned()), losers.iter().map(|&loser| loser.to_owned()).collect()))
}

#[test]
fn a_closed_socket_loses_whether_its_gateway_says_absent_or_gone() {
    let d = device("d");
    let now = later(9);
    for (loser, session, winner) in [("g1", 1, "g2"), ("g2", 2, "g1")] {
        let loser = gateway(loser);
        let (mut table, question) = contested();
        let absent = table.absent(now, question, &d, &loser).unwrap();
        assert_eq!(outcome(&absent), won(winner, &[]));
        assert!(!table.is_contested(&d) && table.find(&d).unwrap().gateway == gateway(winner));

        let (mut table, _) = contested();
        let gone = table.gone(now, &d, &loser, Incarnation(1), SessionId(session));
        assert_eq!(outcome(&gone), won(winner, &[]));
        assert_eq!(
            gone.left.is_some(),
            winner == "g2",
            "the record's session has ended, or it was not the record's"
        );

        let (mut table, _) = contested();
        assert_eq!(outcome(&table.keep_only(now, &loser, &BTreeSet::new())[0]), won(winner, &[]));
        let (mut table, _) = contested();
        assert_eq!(outcome(&table.void(now, &loser, Incarnation(2))[0]), won(winner, &[]));
    }
}

#[test]
fn of_two_open_sockets_the_one_that_was_heard_of_last_stays() {
    let (d, now) = (device("d"), later(9));
    let (mut table, question) = contested();
    let first = table.claimed(now, question, &d, (&gateway("g1"), SessionId(1))).unwrap();
    assert_eq!(outcome(&first), None, "the other may hold it too");
    let last = table.claimed(now, question, &d, (&gateway("g2"), SessionId(2))).unwrap();
    assert_eq!(outcome(&last), won("g2", &["g1"]));
    // In whatever order they answer.
    let (mut table, question) = contested();
    table.claimed(now, question, &d, (&gateway("g2"), SessionId(2)));
    let first = table.claimed(now, question, &d, (&gateway("g1"), SessionId(1))).unwrap();
    assert_eq!(outcome(&first), won("g2", &["g1"]));
}

#[test]
fn only_the_newest_claim_of_each_gateway_is_kept() {
    let (mut table, question) = contested();
    let d = device("d");
    assert_eq!(accept(&mut table, "d", location("g1", 3, 3, None)), Acceptance::Contested { losers: vec![] });
    assert_eq!(table.claimants(&d), ["g2", "g1"].map(gateway));
    assert_eq!(accept(&mut table, "d", location("g1", 1, 1, None)), Acceptance::Older { elsewhere: false });
    let stale = table.claimed(later(9), question, &d, (&gateway("g1"), SessionId(1))).unwrap();
    assert_eq!(outcome(&stale), None, "an answer about another session says nothing");
    let gone = table.gone(later(9), &d, &gateway("g1"), Incarnation(1), SessionId(1));
    assert_eq!(outcome(&gone), None, "nor does its end");
    table.claimed(later(9), question, &d, (&gateway("g2"), SessionId(2)));
    let newest = table.claimed(later(9), question, &d, (&gateway("g1"), SessionId(3))).unwrap();
    assert_eq!(outcome(&newest), won("g1", &["g2"]));
}

#[test]
fn a_certainly_newer_acceptance_ends_a_contest_and_a_certainly_older_one_does_not_enter_it() {
    let mut table = Locations::new(10, 10);
    accept(&mut table, "d", location("g1", 1, 1, Some((100, 200))));
    accept(&mut table, "d", location("g2", 1, 1, Some((150, 250))));
    let older = location("g3", 1, 1, Some((10, 20)));
    assert_eq!(accept(&mut table, "d", older), Acceptance::Older { elsewhere: true });
    let newer = accept(&mut table, "d", location("g3", 2, 2, Some((300, 310))));
    let Acceptance::Taken(resolved) = newer else { panic!("{newer:?}") };
    assert_eq!(resolved.losers.len(), 2);
    assert_eq!(table.find(&device("d")).unwrap().gateway, gateway("g3"));
    assert_eq!(table.contests(), 0);
}

#[test]
fn three_gateways_end_with_one_and_too_many_claims_close_the_first() {
    let (mut table, question) = contested();
    let d = device("d");
    accept(&mut table, "d", location("g3", 3, 1, None));
    for (at, session) in [("g1", 1), ("g2", 2)] {
        let claimed = table.claimed(later(9), question, &d, (&gateway(at), SessionId(session))).unwrap();
        assert_eq!(outcome(&claimed), None);
    }
    let absent = table.absent(later(9), question, &d, &gateway("g3")).unwrap();
    assert_eq!(outcome(&absent), won("g2", &["g1"]));

    let mut table = Locations::new(10, 10);
    for n in 0..=crate::contest::CLAIMS_MAX {
        let taken = accept(&mut table, "d", location(&format!("g{n}"), 1, 1, None));
        let Acceptance::Contested { losers } = taken else { continue };
        assert_eq!(losers.len(), usize::from(n == crate::contest::CLAIMS_MAX));
    }
    assert_eq!(table.claimants(&d).len(), crate::contest::CLAIMS_MAX);
}

#[test]
fn a_gateway_that_cannot_answer_loses_to_one_that_holds_and_wins_against_nobody() {
    let d = device("d");
    let (mut table, question) = contested();
    assert_eq!(outcome(&table.silent(later(9), &gateway("g2"), None)[0]), None);
    let claimed = table.claimed(later(9), question, &d, (&gateway("g1"), SessionId(1))).unwrap();
    assert_eq!(outcome(&claimed), won("g1", &["g2"]));

    let (mut table, _) = contested();
    table.silent(later(9), &gateway("g1"), None);
    assert_eq!(outcome(&table.silent(later(9), &gateway("g2"), None)[0]), won("g2", &["g1"]));
    // And an acceptance ends the doubt that a lost gateway left.
    let mut table = Locations::new(10, 10);
    accept(&mut table, "d", location("g1", 1, 1, None));
    let new = location("g2", 1, 1, None);
    let found = table.accept(&d, new.clone(), |gateway| gateway.as_str() != "g1");
    let unsure = Location { doubted: true, ..new };
    assert_eq!(found, taken(unsure, &[location("g1", 1, 1, None)]), "g1 may have the newest session still");
}

#[test]
fn when_every_socket_is_closed_the_device_is_away() {
    let (mut table, question) = contested();
    let d = device("d");
    accept(&mut table, "d", location("g3", 3, 1, None));
    assert!(table.absent(later(9), question, &d, &gateway("g1")).unwrap().left.is_some());
    assert!(!table.find(&d).unwrap().online && table.is_contested(&d), "two are left to be asked");
    let two = table.absent(later(9), question, &d, &gateway("g2")).unwrap();
    assert_eq!(outcome(&two), won("g3", &[]));
    assert!(table.gone(later(9), &d, &gateway("g3"), Incarnation(1), SessionId(3)).left.is_some());
    assert_eq!(table.online(), 0);
}

#[test]
fn beyond_the_bound_of_contests_the_last_to_arrive_is_taken() {
    let mut table = Locations::new(10, 1);
    for name in ["a", "b"] {
        accept(&mut table, name, location("g1", 1, 1, None));
    }
    assert!(matches!(accept(&mut table, "a", location("g2", 1, 1, None)), Acceptance::Contested { .. }));
    let taken = accept(&mut table, "b", location("g2", 1, 1, None));
    assert!(matches!(taken, Acceptance::Taken(Resolution { is_unasked: true, .. })), "{taken:?}");
}

#[test]
fn within_one_incarnation_its_own_clock_decides() {
    let mut table = Locations::new(10, 10);
    accept(&mut table, "d", location("g1", 2, 200, None));
    let older = accept(&mut table, "d", location("g1", 1, 100, Some((900, 901))));
    assert_eq!(older, Acceptance::Older { elsewhere: false });
    assert_eq!(accept(&mut table, "d", location("g1", 2, 200, None)), Acceptance::Known);
    let newer = location("g1", 3, 300, None);
    assert_eq!(accept(&mut table, "d", newer.clone()), taken(newer, &[location("g1", 2, 200, None)]));
}

#[test]
fn gone_is_compared_and_leaves_no_tombstone() {
    let mut table = Locations::new(10, 10);
    let d = device("d");
    let gone = |table: &mut Locations, at: &str, incarnation, session| {
        table.gone(later(1), &d, &gateway(at), Incarnation(incarnation), SessionId(session)).left.is_some()
    };
    accept(&mut table, "d", location("g1", 5, 500, Some((50, 60))));
    assert!(!gone(&mut table, "g1", 1, 4), "another session");
    assert!(!gone(&mut table, "g1", 2, 5), "another incarnation");
    assert!(!gone(&mut table, "g2", 1, 5), "another gateway");
    assert!(gone(&mut table, "g1", 1, 5));
    assert!(!gone(&mut table, "g1", 1, 5), "it has gone already");
    // A session that was accepted earlier and lives is announced again: it is not refused.
    let older = location("g2", 1, 1, Some((10, 20)));
    let unsure = Location { doubted: true, ..older.clone() };
    assert_eq!(accept(&mut table, "d", older), taken(unsure, &[]), "but g1 may have kept a newer one");
}

#[test]
fn a_snapshot_removes_what_it_does_not_name() {
    let mut table = Locations::new(10, 10);
    accept(&mut table, "stays", location("g1", 1, 1, None));
    accept(&mut table, "goes", location("g1", 2, 2, None));
    accept(&mut table, "elsewhere", location("g2", 1, 1, None));
    let gone = table.keep_only(later(9), &gateway("g1"), &BTreeSet::from([device("stays")]));
    assert_eq!(gone.iter().map(|change| change.device.to_string()).collect::<Vec<_>>(), ["main/goes"]);
    let online = |name: &str| table.find(&device(name)).unwrap().online;
    assert!(online("stays") && !online("goes") && online("elsewhere"));
}

#[test]
fn a_new_incarnation_voids_the_records_of_the_old_one() {
    let mut table = Locations::new(10, 10);
    accept(&mut table, "old", location("g1", 1, 1, None));
    accept(&mut table, "new", Location { incarnation: Incarnation(2), ..location("g1", 1, 1, None) });
    assert_eq!(table.void(later(9), &gateway("g1"), Incarnation(2)).len(), 1);
    assert_eq!(table.find(&device("old")), None, "unknown, so that it is asked for");
    assert!(table.find(&device("new")).is_some());
}

#[test]
fn at_the_bound_the_longest_away_is_forgotten_then_the_longest_known() {
    let mut table = Locations::new(3, 3);
    for (i, name) in ["a", "b", "c"].iter().enumerate() {
        let since = later(i as u64);
        accept(&mut table, name, Location { since, ..location("g1", i as u64, 1, None) });
    }
    table.gone(later(20), &device("c"), &gateway("g1"), Incarnation(1), SessionId(2));
    table.gone(later(10), &device("b"), &gateway("g1"), Incarnation(1), SessionId(1));
    for (new, forgotten) in [("d", "b"), ("e", "c"), ("f", "a")] {
        let since = later(50);
        let Acceptance::Taken(resolved) =
            accept(&mut table, new, Location { since, ..location("g1", 9, 1, None) })
        else {
            panic!("nobody is in its way")
        };
        assert_eq!(resolved.forgotten, Some(device(forgotten)));
        assert_eq!(table.find(&device(forgotten)), None);
    }
    assert_eq!((table.len(), table.at(&gateway("g1"))), (3, 3));
}
