//! Rules of the flow down, and of which sighting is newer, broken on purpose: the simulation has to find each of these, and the same
//! seed with the rule kept has to be whole.

use roost_simulation::{Break, Burst, Plan, run};

/// The most seeds that are tried.
const SEEDS: u64 = 60;

/// Breaks a rule in seed after seed, those that are known to find it first, until a run says so in words that name what the break
/// leads to.
fn is_found(plant: Break, known: &[u64], words: &[&str]) {
    is_found_among(plant, None, known, words);
}

/// The same where nothing goes wrong but the situation that the rule is for.
fn is_found_in(burst: Burst, plant: Break, known: &[u64], words: &[&str]) {
    is_found_among(plant, Some(burst), known, words);
}

fn is_found_among(plant: Break, burst: Option<Burst>, known: &[u64], words: &[&str]) {
    let mut seeds = known.iter().copied().chain(0..SEEDS);
    let found = seeds.find(|&seed| says(&broken(seed, burst, Some(plant)), words));
    let seed = found.unwrap_or_else(|| panic!("{SEEDS} seeds did not find {plant:?}"));
    assert_eq!(broken(seed, burst, None), Vec::<String>::new(), "seed {seed} with every rule kept");
}

fn broken(seed: u64, burst: Option<Burst>, plant: Option<Break>) -> Vec<String> {
    run(Plan { plant, burst, ..Plan::of(seed) }).broken
}

fn says(broken: &[String], words: &[&str]) -> bool {
    broken.iter().any(|broken| words.iter().any(|word| broken.contains(word)))
}

/// What two gateways that deliver, or one that delivers again, end in; or that nobody knows of a delivery.
const DELIVERED_TWICE: [&str; 4] = ["came twice", "came again", "two holders", "but: arrived true"];

#[test]
fn down_1_several_consumers_are_found() {
    is_found(Break::SeveralConsumers, &[0], &[" before it has "]);
}

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
fn down_2_not_checking_dead_letters_is_found() {
    is_found(Break::DeadLettersUnchecked, &[0], &["has the final receipts {\""]);
}

#[test]
fn down_3_forwarding_to_the_away_is_found() {
    is_found(Break::ForwardToTheAway, &[0], &["and the router has read that session"]);
}

#[test]
fn down_3_never_asking_is_found() {
    is_found_in(Burst::OvertakenSightings, Break::NeverAsk, &[0], &["the router has asked who has"]);
}

/// Alone it is never found, because it can do no harm: whatever has an older epoch has an older sync number too, and the gateway asks
/// for that first. A newer epoch for a session that is still there means that its hold before has ended, and every way in which
/// a hold ends says so:
/// - All its commands were answered by this gateway, which therefore had them, in the order of its inbox, before the newer one. An
///   inbox belongs to one link and delivers nothing twice: with its consumer it is gone itself.
/// - The broker returned them, so they are in no inbox.
/// - A sync has left them out: what they carry is the number before that sync's.
/// - The gateway's lease lapsed at the router and the mark is read. By then it had lapsed at the gateway, whose clock runs from
///   when it sent what the router answered later; and a lease that is regained raises the number before anything is taken.
/// - The router lost its publisher's connection, or began a new run: it forwards nothing more before that gateway's next sync.
///
/// So the epoch is a second line, for a gateway that would take older numbers. That it holds is shown where the first line is broken:
/// commands of the router's earlier run arrive when the present one has given the same session others. With either line left all
/// is whole; with neither the device gets them again, behind later ones.
#[test]
fn down_4_taking_older_epochs_is_found_where_older_sync_numbers_are_taken_too() {
    let burst = Some(Burst::EarlierRunOfTheRouter);
    let one_line_is_enough = |&seed: &u64| {
        let whole = [None, Some(Break::TakeOlderEpochs), Some(Break::TakeOlderSyncs)];
        whole.into_iter().all(|plant| broken(seed, burst, plant).is_empty())
    };
    let is_found = |seed: &u64| {
        let broken = broken(*seed, burst, Some(Break::TakeOlderEpochsAndSyncs));
        says(&broken, &["came twice"]) && says(&broken, &["on one connection after place"])
    };
    let found = (0..SEEDS).filter(is_found).find(one_line_is_enough);
    assert!(found.is_some(), "{SEEDS} seeds did not find what the epoch is for");
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
    is_found(Break::DeliverAfterTheEnd, &[91, 194], &["after place"]);
}

#[test]
fn down_5_counting_answers_of_other_holds_is_found() {
    is_found_in(Burst::EarlierRunOfAGateway, Break::AnswersOfOtherHolds, &[90, 61], &DELIVERED_TWICE);
}

#[test]
fn down_5_counting_delivered_of_this_hold_only_is_found() {
    is_found(Break::DeliveredOfThisHoldOnly, &[1], &["the router has read that it was delivered"]);
}

#[test]
fn down_5_sending_again_at_a_timeout_is_found() {
    is_found_in(Burst::LostBehindAStall, Break::ResendAtTimeout, &[0], &["came twice", "came again"]);
}

#[test]
fn down_5_keeping_commands_for_the_next_session_is_found() {
    is_found(Break::KeepForTheNextSession, &[5], &DELIVERED_TWICE);
}

#[test]
fn down_6_a_sync_that_overtakes_is_found() {
    is_found(Break::SyncOvertakes, &[1], &["came twice", "came again"]);
}

#[test]
fn down_6_forgetting_what_a_sync_lists_is_found() {
    is_found(Break::SyncForgetsTheListed, &[39], &DELIVERED_TWICE);
}

#[test]
fn down_6_keeping_what_a_sync_does_not_list_is_found() {
    is_found(Break::SyncKeepsTheMissing, &[0], &["and it has none"]);
}

#[test]
fn down_6_taking_older_sync_numbers_is_found() {
    is_found(Break::TakeOlderSyncs, &[1], &DELIVERED_TWICE);
}

#[test]
fn down_7_two_holders_are_found() {
    is_found(Break::TwoHolders, &[8, 57], &["two holders"]);
}

#[test]
fn down_7_keeping_what_a_lapse_returns_is_found() {
    is_found(Break::KeepWhenLapsed, &[39], &DELIVERED_TWICE);
}

#[test]
fn down_7_reassigning_early_is_found() {
    is_found_in(Burst::LateCommands, Break::ReassignEarly, &[], &["two holders"]);
}

#[test]
fn down_7_reading_the_mark_at_once_is_found() {
    is_found_in(Burst::LostBehindAStall, Break::MarkerReadAtOnce, &[], &["had its acknowledgement"]);
}

#[test]
fn down_7_forwarding_before_the_syncs_is_found() {
    is_found(Break::ForwardBeforeSyncs, &[1], &DELIVERED_TWICE);
}

#[test]
fn down_8_not_telling_of_subscribing_is_found() {
    is_found(Break::NobodyTellsOfSubscribing, &[3], &["no_subscription"]);
}

#[test]
fn down_8_telling_of_subscribing_ahead_of_the_answer_is_found() {
    is_found(Break::SubscribedAhead, &[0], &["no_subscription"]);
}

#[test]
fn down_8_overtaking_the_unsubscribed_is_found() {
    is_found(Break::OvertakeTheUnsubscribed, &[1], &["on one connection after place"]);
}

#[test]
fn down_9_gateways_that_tell_senders_are_found() {
    is_found(Break::GatewaysTellSenders, &[0], &["comes from a gateway"]);
}

#[test]
fn doubt_copies_instead_of_the_question_are_found() {
    is_found(Break::CopiesInDoubt, &[8], &["two holders"]);
}

#[test]
fn newer_1_believing_what_is_void_is_found() {
    is_found_in(Burst::EarlierRunOfAGateway, Break::BelieveTheVoided, &[], &["is said to be online"]);
}

#[test]
fn newer_1_the_last_to_arrive_winning_is_found() {
    is_found_in(Burst::OvertakenSightings, Break::LastToArriveWins, &[], &["the newest session"]);
}

#[test]
fn newer_2_comparing_clocks_as_they_are_is_found() {
    is_found(Break::ClocksAsTheyAre, &[87, 202], &["the newest session", "the router believes"]);
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
fn newer_3_ignoring_gone_in_a_question_is_found() {
    is_found(Break::GoneIgnoredInAQuestion, &[2], &["is gone, and believes in it"]);
}

#[test]
fn newer_4_leaving_rivals_open_is_found() {
    is_found(Break::RivalsStayOpen, &[0], &["has had the sessions"]);
}

#[test]
fn newer_4_forgetting_without_comparing_is_found() {
    is_found(Break::ForgetWithoutCompare, &[0], &["the router believes None"]);
}

#[test]
fn newer_5_announcements_that_only_add_are_found() {
    is_found(Break::AnnouncementsOnlyAdd, &[8], &["the router believes"]);
}

#[test]
fn newer_5_announcing_history_is_found() {
    is_found(Break::AnnounceHistory, &[0], &["the router believes"]);
}
