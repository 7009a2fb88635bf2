//! Every truthful story of one device at three gateways, of up to five sightings, read in every order that keeps each gateway's own
//! order, with every way in which clocks are known, and with every moment at which a gateway may answer: at the end the table has the
//! device where it is, and no live session was closed that had no rival.
//!
//! The stories include connections whose end nobody has seen: the device is elsewhere, and its old socket is still open. Those are
//! closed, whichever was heard of first; and if the device's own is closed in their place, it connects again and wins.
//!
//! Everything with everything is more than anybody waits for: orders, clocks, moments of answers and repetitions are each enumerated to
//! the end with less of the others. `ROOST_HISTORIES=whole` (`tests/long histories`) takes more of all of them, on all processors.

use std::collections::HashMap;
use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::super::Plant;
use super::scripted::{Clocks, Known, Reading, State, Truth};

/// What is enumerated.
#[derive(Debug, Clone, Copy)]
struct Plan {
    sightings_max: usize,
    clocks: Which,
    answers: Answers,
    again: Again,
    plant: Option<Plant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    /// None is known: everything overlaps.
    One,
    /// All gateways alike, each way; and three that are known each in another way.
    Few,
    /// Every gateway in every way.
    All,
}

/// When gateways answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answers {
    /// Behind everything that they will have said.
    Last,
    /// As soon as they can, or behind everything that they will have said.
    FirstAndLast,
    /// At every moment.
    Every,
}

/// What is read twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    Nothing,
    /// Once, at every moment, everything from each place on: what a lost connection does to what was not acknowledged.
    Rest,
    /// A single word: what it would do if acknowledgements overtook each other.
    One,
}

impl Which {
    fn words(self) -> &'static str {
        match self {
            Self::One => "none known",
            Self::Few => "all alike in each of five ways, and two mixtures",
            Self::All => "each in each of five ways, in three orders of being ahead",
        }
    }
}

impl Answers {
    fn words(self) -> &'static str {
        match self {
            Self::Last => "last",
            Self::FirstAndLast => "first and last",
            Self::Every => "every",
        }
    }
}

impl Again {
    fn words(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Rest => "all from any place on",
            Self::One => "any single one",
        }
    }
}

/// What came of it.
#[derive(Debug, Default)]
struct Tally {
    stories: u64,
    rest: Rest,
    wrong: Option<String>,
}

fn whole() -> bool {
    std::env::var("ROOST_HISTORIES").is_ok_and(|text| text == "whole")
}

fn clocks(which: Which) -> Vec<Clocks> {
    let ahead = [[-1, 0, 1], [0, 1, -1], [1, -1, 0]];
    let all = |known: [Known; 3]| ahead.map(|ahead| Clocks::new(known, ahead));
    match which {
        Which::One => vec![Clocks::new([Known::Unknown; 3], ahead[2])],
        Which::Few => {
            let alike = Known::ALL.map(|known| [known; 3]);
            let mixed =
                [[Known::Tight, Known::Unknown, Known::Near], [Known::Late, Known::Tight, Known::Wide]];
            alike.into_iter().chain(mixed).map(|known| Clocks::new(known, ahead[2])).collect()
        }
        Which::All => {
            let pairs = Known::ALL.into_iter().flat_map(|a| Known::ALL.map(|b| (a, b)));
            let triples = pairs.flat_map(|(a, b)| Known::ALL.map(|c| [a, b, c]));
            triples.flat_map(all).collect()
        }
    }
}

/// Reads every story in every order, until one goes wrong. Stories have nothing to do with each other: each thread takes the next.
fn enumerate(plan: Plan) -> Tally {
    let clocks = clocks(plan.clocks);
    let mut stories = vec![Truth::default()];
    let mut at = 0;
    while let Some(story) = stories.get(at) {
        at += 1;
        let longer = story.futures();
        stories.extend(longer.into_iter().filter(|next| next.sightings() <= plan.sightings_max));
    }
    // The longest, which are the most work, first.
    stories.reverse();
    let (next, tally) = (AtomicUsize::new(0), Mutex::new(Tally::default()));
    let take_turns = || {
        while let Some(story) = stories.get(next.fetch_add(1, Ordering::Relaxed)) {
            let rest = read_story(&plan, story, &clocks);
            let mut tally = tally.lock().expect("no thread has panicked");
            tally.stories += 1;
            match rest {
                Ok(rest) => tally.rest += rest,
                Err(wrong) => {
                    tally.wrong = Some(wrong);
                    next.store(stories.len(), Ordering::Relaxed);
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, NonZero::get) {
            scope.spawn(take_turns);
        }
    });
    tally.into_inner().expect("no thread has panicked")
}

fn read_story(plan: &Plan, story: &Truth, clocks: &[Clocks]) -> Result<Rest, String> {
    let mut rest = Rest::default();
    for clocks in clocks {
        let reading = Reading::new(story.clone(), *clocks, plan.plant);
        let twice = if plan.again == Again::Nothing { Twice::No } else { Twice::NotYet };
        rest += read(plan, reading, twice, &mut States::default())?;
    }
    Ok(rest)
}

/// What comes of a reading from one state on.
#[derive(Debug, Clone, Copy, Default)]
struct Rest {
    cases: u64,
    questions: u64,
}

/// How far a reading is with what is read twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Twice {
    /// Nothing was, yet.
    NotYet,
    /// What is read from this place on will be.
    From(usize),
    /// It was, or nothing will be.
    No,
}

/// What is known already of states of one story under one set of clocks. Orders that lead to the same state are counted, each, and read on
/// from there once; but what will be read twice is remembered in its order, and each is read for itself.
#[derive(Default)]
struct States {
    not_yet: HashMap<State, Rest>,
    no: HashMap<State, Rest>,
}

impl States {
    fn of(&mut self, twice: Twice) -> Option<&mut HashMap<State, Rest>> {
        match twice {
            Twice::NotYet => Some(&mut self.not_yet),
            Twice::From(_) => None,
            Twice::No => Some(&mut self.no),
        }
    }
}

fn read(plan: &Plan, mut reading: Reading, twice: Twice, states: &mut States) -> Result<Rest, String> {
    let known = states.of(twice);
    if let Some(rest) = known.as_ref().and_then(|known| known.get(&reading.state)) {
        return Ok(*rest);
    }
    let begun = known.map(|_| reading.state.clone());
    let mut rest = Rest::default();
    if let Some((place, question)) = reading.state.unplaced.pop() {
        let places = reading.answer_places(place);
        let (first, last) = (*places.start(), *places.end());
        let is_meant = |at: &usize| match plan.answers {
            Answers::Every => true,
            Answers::FirstAndLast => *at == first || *at == last,
            Answers::Last => *at == last,
        };
        for at in places.filter(is_meant) {
            let mut next = reading.clone();
            next.answer(place, question, at);
            rest += read(plan, next, twice, states)?;
        }
    } else {
        if twice == Twice::NotYet {
            rest += read(plan, reading.clone(), Twice::From(reading.order.len()), states)?;
        }
        if let Twice::From(from) = twice
            && from < reading.order.len()
        {
            let words = match plan.again {
                Again::Rest => reading.order[from..].to_vec(),
                Again::One | Again::Nothing => vec![reading.order[from]],
            };
            let mut next = reading.clone();
            next.again(&words);
            rest += read(plan, next, Twice::No, states)?;
        }
        let places: Vec<usize> = (0..3).filter(|&place| reading.has_next(place)).collect();
        for &place in &places {
            let mut next = reading.clone();
            next.next(place);
            rest += read(plan, next, twice, states)?;
        }
        // What was to be read twice and never was is the case in which nothing is.
        if places.is_empty() && !matches!(twice, Twice::From(_)) {
            reading.judge();
            if let Some(wrong) = &reading.state.wrong {
                return Err(format!("{wrong}\n{}", reading.story()));
            }
            rest += Rest { cases: 1, questions: reading.questions_asked() };
        }
    }
    if let (Some(known), Some(state)) = (states.of(twice), begun) {
        known.insert(state, rest);
    }
    Ok(rest)
}

impl std::ops::AddAssign for Rest {
    fn add_assign(&mut self, other: Self) {
        self.cases += other.cases;
        self.questions += other.questions;
    }
}

/// All is well, and it was not nothing.
fn well(what: &str, plan: Plan, cases_min: u64) {
    let tally = enumerate(plan);
    let Tally { stories, rest: Rest { cases, questions }, .. } = tally;
    println!("{plan:?}: {stories} stories, {cases} cases, {questions} questions");
    assert_eq!(tally.wrong, None);
    assert!(cases >= cases_min && questions > 0, "{tally:?}");
    // A row for the page of figures, if somebody collects them: `tests/long histories` does.
    if let Some(folder) = std::env::var_os("ROOST_FIGURES") {
        let Plan { sightings_max, clocks, answers, again, .. } = plan;
        let row = format!(
            "| {what} | {sightings_max} | {} | {} | {} | {stories} | {cases} | {questions} | 0 |\n",
            clocks.words(),
            answers.words(),
            again.words()
        );
        let file = std::path::Path::new(&folder).join(format!("histories-{what}"));
        std::fs::write(file, row).expect("the folder for figures can be written");
    }
}

#[test]
fn every_order_of_sightings_ends_with_the_gateway_that_holds_the_device() {
    let (sightings_max, clocks) = if whole() { (6, Which::All) } else { (5, Which::One) };
    let plan = Plan { sightings_max, clocks, answers: Answers::Last, again: Again::Nothing, plant: None };
    well("orders", plan, 100_000);
}

#[test]
fn answers_at_other_moments_end_so_too() {
    let (sightings_max, answers) = if whole() { (6, Answers::Every) } else { (4, Answers::FirstAndLast) };
    let plan = Plan { sightings_max, clocks: Which::Few, answers, again: Again::Nothing, plant: None };
    well("answers", plan, 50_000);
}

#[test]
fn every_way_in_which_clocks_are_known_ends_so() {
    let (sightings_max, answers) = (if whole() { 5 } else { 3 }, Answers::Every);
    let plan = Plan { sightings_max, clocks: Which::All, answers, again: Again::Nothing, plant: None };
    well("clocks", plan, 100_000);
}

#[test]
fn what_is_read_twice_changes_nothing_in_the_end() {
    let (sightings_max, clocks) = if whole() { (5, Which::Few) } else { (3, Which::One) };
    let (answers, again, plant) = (Answers::Last, Again::Rest, None);
    well("repetitions", Plan { sightings_max, clocks, answers, again, plant }, 1_000);
    if whole() {
        // Where no clock is known everything overlaps, and every order asks.
        let plan = Plan { sightings_max: 6, clocks: Which::One, answers, again, plant };
        well("repetitions-of-six", plan, 1_000);
    }
}

/// The shortest break is found with so many sightings.
fn is_found(plant: Option<Plant>, again: Again, sightings_max: usize) {
    let plan = Plan { sightings_max, clocks: Which::Few, answers: Answers::Every, again, plant };
    let found = enumerate(plan).wrong;
    println!("{plant:?} {again:?}: {}", found.as_deref().unwrap_or("nothing"));
    assert!(found.is_some(), "{plan:?} goes unnoticed");
}

#[test]
fn if_the_last_to_arrive_won_a_live_session_would_be_closed() {
    is_found(Some(Plant::LastToArriveWins), Again::Nothing, 3);
}

#[test]
fn if_gone_left_a_tombstone_a_session_without_rival_would_be_closed() {
    is_found(Some(Plant::Tombstones), Again::Nothing, 3);
}

#[test]
fn if_gone_were_ignored_during_a_question_the_location_would_be_wrong() {
    is_found(Some(Plant::GoneIsIgnoredInAContest), Again::Nothing, 4);
}

#[test]
fn if_clocks_were_compared_as_they_are_the_older_session_would_win() {
    is_found(Some(Plant::ClocksAreComparedAsTheyAre), Again::Nothing, 3);
}

#[test]
fn if_the_first_to_arrive_won_a_dead_socket_would_win_for_ever() {
    is_found(Some(Plant::FirstToArriveWins), Again::Nothing, 3);
}

#[test]
fn if_acknowledgements_overtook_each_other_the_location_would_be_wrong() {
    is_found(None, Again::One, 3);
}
