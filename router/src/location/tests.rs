use super::*;

fn device(text: &str) -> Device {
    text.parse().unwrap()
}

fn gateway(text: &str) -> GatewayId {
    text.parse().unwrap()
}

fn location(at: &str, session: u64, accepted: u64, interval: Option<(i64, i64)>) -> Location {
    let interval =
        interval.map(|(earliest_micros, latest_micros)| Interval { earliest_micros, latest_micros });
    Location {
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

#[test]
fn the_later_of_two_disjoint_acceptances_wins_however_late_it_arrives() {
    let old = location("g1", 1, 1, Some((10, 20)));
    let new = location("g2", 1, 1, Some((30, 40)));
    let d = device("d");

    let mut table = Locations::new(10);
    table.accept(&d, old.clone());
    let rival = Some(Box::new(old.clone()));
    assert_eq!(table.accept(&d, new.clone()), Acceptance::Taken { rival, forgotten: None });

    let mut table = Locations::new(10);
    table.accept(&d, new.clone());
    assert_eq!(table.accept(&d, old), Acceptance::Older, "its sighting was late");
    assert_eq!(table.find(&d), Some(&new));
}

#[test]
fn of_two_overlapping_acceptances_the_last_to_arrive_wins() {
    let cases =
        [(Some((10, 20)), Some((20, 40))), (None, Some((1, 2))), (Some((100, 200)), None), (None, None)];
    for (first, second) in cases {
        let mut table = Locations::new(10);
        let d = device("d");
        table.accept(&d, location("g1", 1, 1, first));
        let taken = table.accept(&d, location("g2", 1, 1, second));
        assert!(matches!(taken, Acceptance::Taken { rival: Some(_), .. }), "{first:?} {second:?}");
    }
}

#[test]
fn within_one_incarnation_its_own_clock_decides() {
    let mut table = Locations::new(10);
    let d = device("d");
    table.accept(&d, location("g1", 2, 200, None));
    assert_eq!(table.accept(&d, location("g1", 1, 100, Some((900, 901)))), Acceptance::Older);
    assert_eq!(table.accept(&d, location("g1", 2, 200, None)), Acceptance::Known);
    assert!(matches!(
        table.accept(&d, location("g1", 3, 300, None)),
        Acceptance::Taken { rival: Some(_), .. }
    ));
}

#[test]
fn gone_is_compared_and_leaves_no_tombstone() {
    let mut table = Locations::new(10);
    let d = device("d");
    let g1 = gateway("g1");
    table.accept(&d, location("g1", 5, 500, Some((50, 60))));
    assert_eq!(table.gone(later(1), &d, &g1, Incarnation(1), SessionId(4)), None, "another session");
    assert_eq!(table.gone(later(1), &d, &g1, Incarnation(2), SessionId(5)), None, "another incarnation");
    assert_eq!(
        table.gone(later(1), &d, &gateway("g2"), Incarnation(1), SessionId(5)),
        None,
        "another gateway"
    );
    assert!(table.gone(later(1), &d, &g1, Incarnation(1), SessionId(5)).is_some());
    assert_eq!(table.gone(later(1), &d, &g1, Incarnation(1), SessionId(5)), None, "it has gone already");
    // A session that was accepted earlier and lives is announced again: it is not refused.
    assert_eq!(
        table.accept(&d, location("g2", 1, 1, Some((10, 20)))),
        Acceptance::Taken { rival: None, forgotten: None }
    );
}

#[test]
fn a_snapshot_removes_what_it_does_not_name() {
    let mut table = Locations::new(10);
    table.accept(&device("stays"), location("g1", 1, 1, None));
    table.accept(&device("goes"), location("g1", 2, 2, None));
    table.accept(&device("elsewhere"), location("g2", 1, 1, None));
    let gone = table.keep_only(later(9), &gateway("g1"), &BTreeSet::from([device("stays")]));
    assert_eq!(gone.iter().map(|(d, _)| d.to_string()).collect::<Vec<_>>(), ["main/goes"]);
    let online = |name: &str| table.find(&device(name)).unwrap().online;
    assert!(online("stays") && !online("goes") && online("elsewhere"));
}

#[test]
fn a_new_incarnation_voids_the_records_of_the_old_one() {
    let mut table = Locations::new(10);
    table.accept(&device("old"), location("g1", 1, 1, None));
    table.accept(&device("new"), Location { incarnation: Incarnation(2), ..location("g1", 1, 1, None) });
    assert_eq!(table.void(&gateway("g1"), Incarnation(2)).len(), 1);
    assert_eq!(table.find(&device("old")), None, "unknown, so that it is asked for");
    assert!(table.find(&device("new")).is_some());
}

#[test]
fn at_the_bound_the_longest_away_is_forgotten_then_the_longest_known() {
    let mut table = Locations::new(3);
    for (i, name) in ["a", "b", "c"].iter().enumerate() {
        let since = later(i as u64);
        table.accept(&device(name), Location { since, ..location("g1", i as u64, 1, None) });
    }
    table.gone(later(20), &device("c"), &gateway("g1"), Incarnation(1), SessionId(2));
    table.gone(later(10), &device("b"), &gateway("g1"), Incarnation(1), SessionId(1));
    for (new, forgotten) in [("d", "b"), ("e", "c"), ("f", "a")] {
        let since = later(50);
        let taken = table.accept(&device(new), Location { since, ..location("g1", 9, 1, None) });
        assert_eq!(taken, Acceptance::Taken { rival: None, forgotten: Some(device(forgotten)) });
        assert_eq!(table.find(&device(forgotten)), None);
    }
    assert_eq!((table.len(), table.at(&gateway("g1"))), (3, 3));
}
