//! The scenario files of `roost fleet`.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use roost_fleet::{Action, Scenario, Step};

use crate::document::{self, Position};
use crate::section::{Findings, Section};
use crate::value::{choice, seconds, whole};
use crate::{Problem, Problems};

/// A day: no run of devices is longer without somebody looking at it.
const SECONDS_MAX: u64 = 86_400;

/// The word after `action:`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Cut,
    Roam,
    RegionLoss,
    Slow,
}

const WORDS: [(&str, Word); 4] =
    [("cut", Word::Cut), ("roam", Word::Roam), ("region_loss", Word::RegionLoss), ("slow", Word::Slow)];

/// Reads a scenario file.
///
/// # Errors
/// [`Problems`] holds everything that is wrong, or that the file cannot be read.
pub fn load(path: &Path) -> Result<Scenario, Problems> {
    let file = path.display().to_string();
    let mut text = String::new();
    // One byte more than is allowed is enough to see that it is too long.
    let read = File::open(path)
        .and_then(|file| file.take(document::FILE_BYTES_MAX as u64 + 1).read_to_string(&mut text));
    match read {
        Ok(_) => self::read(&file, &text),
        Err(error) => {
            let problem = Problem { at: Position::START, message: format!("cannot be read: {error}") };
            Err(Problems::new(&file, vec![problem]))
        }
    }
}

/// Reads the text of a scenario file; `file` names it in the problems.
///
/// # Errors
/// [`Problems`] holds everything that is wrong.
pub fn read(file: &str, text: &str) -> Result<Scenario, Problems> {
    let (tree, mut problems) = document::read(text);
    let findings = Findings::default();
    let mut steps = Vec::new();
    if let Some(tree) = &tree {
        let mut section = Section::of(&findings, tree);
        if !section.has("steps") {
            section.say("steps", "is missing; a scenario is a list of steps");
        }
        for item in section.list("steps").unwrap_or_default() {
            steps.extend(read_step(section.item_section(item)));
            if steps.len() > Scenario::STEPS_MAX {
                section.say("steps", format!("more than {} steps, repeats counted", Scenario::STEPS_MAX));
                break;
            }
        }
        section.finish();
    }
    problems.extend(findings.into_problems());
    steps.sort_by_key(|step: &Step| step.at_ms);
    match problems.is_empty() {
        true => Ok(Scenario { steps }),
        false => Err(Problems::new(file, problems)),
    }
}

/// One entry of the list, as often as it says.
fn read_step(mut s: Section<'_>) -> Vec<Step> {
    let at = s.required("at_s", seconds(0..=SECONDS_MAX));
    let word = s.required("action", choice(&WORDS));
    let percent = s.or("share_percent", 100, whole(0..=100_u8));
    let times = s.or("times", 1, whole(1..=Scenario::STEPS_MAX as u32));
    let every = match times {
        1 => s.or("every_s", Duration::ZERO, seconds(1..=SECONDS_MAX)),
        _ => s.required("every_s", seconds(1..=SECONDS_MAX)).unwrap_or_default(),
    };
    let lasts = matches!(word, Some(Word::RegionLoss | Word::Slow));
    let for_ms = if lasts { s.required("for_s", seconds(1..=SECONDS_MAX)).map(ms) } else { Some(0) };
    let broker =
        if word == Some(Word::RegionLoss) { s.required("broker", whole(0..=u16::MAX)) } else { Some(0) };
    s.finish();
    let (Some(at), Some(word), Some(for_ms), Some(broker)) = (at, word, for_ms, broker) else {
        return Vec::new();
    };
    let action = match word {
        Word::Cut => Action::Cut,
        Word::Roam => Action::Roam,
        Word::RegionLoss => Action::RegionLoss { broker, for_ms },
        Word::Slow => Action::Slow { for_ms },
    };
    let step = |n: u32| Step { at_ms: ms(at + every * n), share: f64::from(percent) / 100.0, action };
    (0..times).map(step).collect()
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_read_in_order_of_time_and_repeated() {
        let text = "steps:\n- {at_s: 9, action: cut}\n- {at_s: 1, action: cut, share_percent: 10, every_s: 5, times: 2}\n\
            - {at_s: 2, action: region_loss, broker: 1, for_s: 3}\n- {at_s: 4, action: slow, for_s: 6}\n\
            - {at_s: 5, action: roam}\n";
        let steps = read("f", text).unwrap().steps;
        let step = |at_ms, share, action| Step { at_ms, share, action };
        assert_eq!(
            steps,
            [
                step(1_000, 0.1, Action::Cut),
                step(2_000, 1.0, Action::RegionLoss { broker: 1, for_ms: 3_000 }),
                step(4_000, 1.0, Action::Slow { for_ms: 6_000 }),
                step(5_000, 1.0, Action::Roam),
                step(6_000, 0.1, Action::Cut),
                step(9_000, 1.0, Action::Cut),
            ]
        );
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_its_place() {
        let text = "steps:\n- {action: cut, share_percent: 101}\n- {at_s: 1, action: explode}\n- {at_s: 1, action: slow}\nstep: 1\n";
        let said = read("f.yaml", text).unwrap_err().to_string();
        for part in [
            "f.yaml:2:3: at_s is missing",
            "share_percent: 101 is not in 0 to 100",
            "f.yaml:3:21: action: ",
            "for_s is missing",
            "unknown key \"step\"; did you mean \"steps\"?",
        ] {
            assert!(said.contains(part), "{part:?} is missing in\n{said}");
        }
        assert!(read("f", "").unwrap_err().to_string().contains("steps: is missing"));
    }

    #[test]
    fn the_examples_are_good() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fleet");
        let mut seen = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let steps = load(&path).unwrap_or_else(|problems| panic!("{problems}")).steps;
            assert_eq!(steps.is_empty(), path.ends_with("steady.yaml"), "{}", path.display());
            seen += 1;
        }
        assert_eq!(seen, 6);
    }
}
