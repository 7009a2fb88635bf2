//! Groups against a list of members, and their bounds.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::{Interests, Placement};

fn filter(text: &str) -> SharedFilter {
    match Filter::parse(text).unwrap() {
        Filter::Shared(filter) => filter,
        Filter::Own(filter) => panic!("{filter} is not shared"),
    }
}

fn member(session: u64) -> Member {
    Member { session: SessionKey(session), subscription: Subscription::default(), is_connected: true }
}

fn in_turn(groups: &mut Groups, key: GroupKey, takes: impl Fn(&Member) -> bool) -> Option<u64> {
    let (at, member) = groups.next_in_turn(key, takes)?;
    groups.had_turn(key, at);
    Some(member.session.0)
}

fn matching(groups: &Groups, topic: &str) -> usize {
    let mut found = 0;
    groups.visit_matches(topic, |_| found += 1);
    found
}

#[test]
fn members_have_their_turn_one_after_another_and_who_does_not_take_it_is_passed_over() {
    let mut groups = Groups::new(1, Placement::ALONE, Arc::new(Interests::new(1, 1)));
    for session in 1..=3 {
        groups.join(&filter("$share/g/a"), member(session)).unwrap();
    }
    let key = groups.find(SessionKey(1), &filter("$share/g/a")).unwrap();
    let mut turns = |takes: fn(&Member) -> bool| in_turn(&mut groups, key, takes);
    assert_eq!([(); 4].map(|()| turns(|_| true)), [Some(1), Some(2), Some(3), Some(1)]);
    assert_eq!([(); 3].map(|()| turns(|member| member.session.0 != 2)), [Some(3), Some(1), Some(3)]);
    assert_eq!(turns(|_| false), None);
    groups.leave(SessionKey(1), key);
    assert_eq!([(); 3].map(|()| in_turn(&mut groups, key, |_| true)), [Some(2), Some(3), Some(2)]);
}

#[test]
fn a_group_is_a_name_and_a_filter() {
    let mut groups = Groups::new(1, Placement::ALONE, Arc::new(Interests::new(1, 1)));
    for text in ["$share/g/a/+", "$share/h/a/+", "$share/g/a/b"] {
        assert_eq!(groups.join(&filter(text), member(1)), Ok(Inserted::New));
    }
    assert_eq!((matching(&groups, "a/b"), matching(&groups, "a/c"), matching(&groups, "b")), (3, 2, 0));
    assert_eq!(groups.memberships(), 3);
}

#[test]
fn a_group_has_a_bounded_number_of_members_and_who_is_in_it_may_subscribe_again() {
    let mut groups = Groups::new(1, Placement::ALONE, Arc::new(Interests::new(1, 1)));
    for session in 0..MEMBERS_MAX as u64 {
        groups.join(&filter("$share/g/a"), member(session)).unwrap();
    }
    assert_eq!(groups.join(&filter("$share/g/a"), member(5_000)), Err(Full::Members));
    assert_eq!(groups.join(&filter("$share/h/a"), member(5_000)), Ok(Inserted::New));
    let again = groups.join(&filter("$share/g/a"), member(7));
    assert!(matches!(again, Ok(Inserted::Replaced(_))));
}

#[test]
fn a_group_that_ends_gives_back_who_waits_for_it() {
    let mut groups = Groups::new(1, Placement::ALONE, Arc::new(Interests::new(1, 1)));
    for session in [1, 2] {
        groups.join(&filter("$share/g/a"), member(session)).unwrap();
    }
    let key = groups.find(SessionKey(1), &filter("$share/g/a")).unwrap();
    groups.waiting(key).unwrap().push_back(ConnectionId(7));
    assert_eq!(groups.leave(SessionKey(1), key), []);
    assert_eq!(groups.leave(SessionKey(1), key), [], "it had left");
    assert_eq!(groups.leave(SessionKey(2), key), [ConnectionId(7)]);
    assert_eq!((groups.is_empty(), matching(&groups, "a")), (true, 0));
    groups.join(&filter("$share/g/a"), member(1)).unwrap();
    assert_ne!(groups.find(SessionKey(1), &filter("$share/g/a")), Some(key), "it is another group");
}

const FILTERS: [&str; 4] = ["$share/g/a", "$share/h/a", "$share/g/+", "$share/g/#"];

#[derive(Debug, Clone)]
enum Step {
    Join(u64, usize),
    Leave(u64, usize),
    Connect(u64, bool),
    Turn(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let (session, group) = (0..5_u64, 0..FILTERS.len());
    prop_oneof![
        4 => (session.clone(), group.clone()).prop_map(|(session, group)| Step::Join(session, group)),
        2 => (session.clone(), group.clone()).prop_map(|(session, group)| Step::Leave(session, group)),
        1 => (session, any::<bool>()).prop_map(|(session, is)| Step::Connect(session, is)),
        4 => group.prop_map(Step::Turn),
    ]
}

proptest! {
    #[test]
    fn they_are_what_a_list_of_members_is(steps in proptest::collection::vec(step(), 1..100)) {
        let mut groups = Groups::new(1, Placement::ALONE, Arc::new(Interests::new(1, 1)));
        let filters = FILTERS.map(filter);
        // By group and session: whether its client is connected.
        let mut model: BTreeMap<(usize, u64), bool> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Join(session, group) => {
                    let inserted = groups.join(&filters[group], member(session)).unwrap();
                    let is_new = model.insert((group, session), true).is_none();
                    prop_assert_eq!(inserted == Inserted::New, is_new);
                }
                Step::Leave(session, group) => {
                    let key = groups.find(SessionKey(session), &filters[group]);
                    prop_assert_eq!(key.is_some(), model.remove(&(group, session)).is_some());
                    if let Some(key) = key {
                        groups.leave(SessionKey(session), key);
                    }
                }
                Step::Connect(session, is_connected) => {
                    groups.set_connected(SessionKey(session), is_connected);
                    for ((_, of), is) in &mut model {
                        *is = if *of == session { is_connected } else { *is };
                    }
                }
                Step::Turn(group) => {
                    let mut members = model.keys().filter(|(of, _)| *of == group).map(|(_, session)| *session);
                    let Some(first) = members.next() else { continue };
                    let key = groups.find(SessionKey(first), &filters[group]).unwrap();
                    let members = groups.members(key).len();
                    let mut turns: Vec<_> = (0..members).filter_map(|_| in_turn(&mut groups, key, |_| true)).collect();
                    turns.sort_unstable();
                    let expected: Vec<_> = model.keys().filter(|(of, _)| *of == group).map(|(_, session)| *session).collect();
                    prop_assert_eq!(turns, expected, "each once");
                }
            }
            prop_assert_eq!(groups.memberships(), model.len());
            for session in 0..5 {
                let mut listed: Vec<_> =
                    groups.subscriptions_of(SessionKey(session)).map(|(_, filter, _)| filter.to_string()).collect();
                listed.sort_unstable();
                let mut expected: Vec<_> =
                    model.keys().filter(|(_, of)| *of == session).map(|(group, _)| FILTERS[*group]).collect();
                expected.sort_unstable();
                prop_assert_eq!(listed, expected);
            }
            for ((group, session), is_connected) in &model {
                let key = groups.find(SessionKey(*session), &filters[*group]).unwrap();
                let found = groups.members(key).iter().find(|member| member.session.0 == *session);
                prop_assert_eq!(found.map(|member| member.is_connected), Some(*is_connected));
            }
        }
    }
}
