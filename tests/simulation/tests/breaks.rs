//! Rules of the flow down, and of which sighting is newer, broken on purpose: the simulation has to find each of these, and the same
//! seed with the rule kept has to be whole. The breaks that it does not find yet are told in its README.

use roost_simulation::{Break, Plan, run};

/// The most seeds that are tried.
const SEEDS: u64 = 60;

/// Breaks a rule in seed after seed, those that are known to find it first, until a run says so in words that name what the break
/// leads to.
fn is_found(plant: Break, known: &[u64], words: &[&str]) {
    let seeds = known.iter().copied().chain(0..SEEDS);
    let found = seeds.into_iter().find(|&seed| {
        let report = run(Plan { plant: Some(plant), ..Plan::of(seed) });
        report.broken.iter().any(|broken| words.iter().any(|word| broken.contains(word)))
    });
    let seed = found.unwrap_or_else(|| panic!("{SEEDS} seeds did not find {plant:?}"));
    assert_eq!(run(Plan::of(seed)).broken, Vec::<String>::new(), "seed {seed} with every rule kept");
}

/// What two gateways that deliver, or one that delivers again, end in; or that nobody knows of a delivery.
const DELIVERED_TWICE: [&str; 4] = ["came twice", "came again", "two holders", "but: arrived true"];

#[test]
fn down_2_acknowledging_before_fsync_is_found() {
    is_found(
        Break::AcknowledgeBeforeFsync,
        &[1],
        &["accepted and has the final receipts {}", "came twice", "came again"],
    );
}

#[test]
fn down_2_forgetting_what_has_ended_is_found() {
    is_found(Break::ForgetFinals, &[0], &["has the final receipts", "came again"]);
}

#[test]
fn down_2_publishing_a_final_receipt_once_is_found() {
    is_found(Break::ReceiptsOnce, &[2], &["has the final receipts {}"]);
}

#[test]
fn down_4_opening_the_next_hold_at_once_is_found() {
    is_found(Break::NextHoldAtOnce, &[2], &DELIVERED_TWICE);
}

#[test]
fn down_4_ignoring_the_window_is_found() {
    is_found(Break::IgnoreTheWindow, &[0], &["commands of main/device-"]);
}

#[test]
fn down_4_delivering_after_the_end_of_a_hold_is_found() {
    is_found(Break::DeliverAfterTheEnd, &[1], &["after place"]);
}

#[test]
fn down_5_counting_answers_of_other_holds_is_found() {
    is_found(Break::AnswersOfOtherHolds, &[574], &DELIVERED_TWICE);
}

#[test]
fn down_5_keeping_commands_for_the_next_session_is_found() {
    is_found(Break::KeepForTheNextSession, &[5], &DELIVERED_TWICE);
}

#[test]
fn down_6_forgetting_what_a_sync_lists_is_found() {
    is_found(Break::SyncForgetsTheListed, &[39], &DELIVERED_TWICE);
}

#[test]
fn down_6_keeping_what_a_sync_does_not_list_is_found() {
    is_found(Break::SyncKeepsTheMissing, &[0], &["not quiet"]);
}

#[test]
fn down_6_taking_older_sync_numbers_is_found() {
    is_found(Break::TakeOlderSyncs, &[1], &DELIVERED_TWICE);
}

#[test]
fn down_7_two_holders_are_found() {
    is_found(Break::TwoHolders, &[40], &["two holders"]);
}

#[test]
fn down_7_forwarding_before_the_syncs_is_found() {
    is_found(Break::ForwardBeforeSyncs, &[1], &DELIVERED_TWICE);
}

#[test]
fn down_8_not_telling_of_subscribing_is_found() {
    is_found(Break::NobodyTellsOfSubscribing, &[0], &["not quiet"]);
}

#[test]
fn newer_2_comparing_clocks_as_they_are_is_found() {
    is_found(Break::ClocksAsTheyAre, &[0], &["the newest session", "the router believes"]);
}

#[test]
fn newer_2_bounds_that_do_not_hold_the_moment_are_found() {
    is_found(Break::BoundsWithoutTheMoment, &[3], &["the newest session", "the router believes"]);
}

#[test]
fn newer_3_asking_one_of_two_is_found() {
    is_found(Break::AskOneOfTwo, &[0], &["the router believes"]);
}

#[test]
fn newer_4_leaving_rivals_open_is_found() {
    is_found(Break::RivalsStayOpen, &[1], &["has the live sessions"]);
}

#[test]
fn newer_4_forgetting_without_comparing_is_found() {
    is_found(Break::ForgetWithoutCompare, &[0], &["the router believes None"]);
}

#[test]
fn newer_5_announcements_that_only_add_are_found() {
    is_found(Break::AnnouncementsOnlyAdd, &[8], &["the router believes"]);
}
