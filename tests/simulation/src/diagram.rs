//! A space-time diagram: who sent what to whom round a broken rule. A column for each process, time runs down.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::story::{Actor, Item, Line, Story, What};
use crate::time::{Micros, SECOND};

/// What a diagram is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Focus {
    pub(crate) device: Option<usize>,
    pub(crate) command: Option<String>,
    /// When the rule was seen broken.
    pub(crate) at: Option<Micros>,
}

/// The widest line.
const WIDTH_MAX: usize = 200;
/// The most rows: a page.
const ROWS_MAX: usize = 60;
/// Of them, those behind the moment.
const ROWS_BEHIND_MAX: usize = 12;
const TIME_WIDTH: usize = 11;
const LANE_WIDTH: usize = 13;
/// A message that took longer is told when it was sent.
const LATE: Micros = SECOND / 2;
/// How long before the first row about the command what happened is part of its story.
const BEFORE: Micros = 15 * SECOND;

impl Focus {
    /// What the words of a broken rule are about. They name a command as `c12`, a device as `device 3` or `device-3`, and a moment in
    /// microseconds as `at 12345 µs`.
    pub(crate) fn of(words: &str) -> Self {
        let tokens: Vec<&str> = words.split(|c: char| !(c.is_alphanumeric() || c == '-')).collect();
        let number = |text: &str| text.parse::<usize>().ok();
        let mut focus = Self::default();
        for (place, token) in tokens.iter().enumerate() {
            let next = tokens.get(place + 1).copied().unwrap_or_default();
            let after = tokens.get(place + 2).copied().unwrap_or_default();
            if let Some(index) = token.strip_prefix("device-").and_then(number) {
                focus.device.get_or_insert(index);
            } else if *token == "device" {
                focus.device = focus.device.or(number(next));
            } else if token.strip_prefix('c').and_then(number).is_some() {
                focus.command.get_or_insert((*token).to_owned());
            } else if *token == "at" && after == "µs" {
                focus.at = focus.at.or(next.parse().ok());
            }
        }
        focus
    }

    /// Whether it names a device or a command.
    pub(crate) fn is_of_something(&self) -> bool {
        self.device.is_some() || self.command.is_some()
    }

    fn is_about(&self, item: &Item) -> bool {
        let is_same_command = self.command.is_some() && item.command == self.command;
        let is_same_device = self.device.is_some() && item.device == self.device;
        is_same_command || is_same_device
    }
}

/// Draws it.
pub(crate) fn draw(story: &Story, focus: &Focus, title: &str) -> String {
    let lines = relevant(story.lines(), focus);
    let columns: Vec<Actor> =
        lines.iter().flat_map(|line| line.actors()).collect::<BTreeSet<_>>().into_iter().collect();
    let mut text = String::new();
    for part in wrapped(title) {
        writeln!(text, "{part}").expect("text takes all");
    }
    if columns.is_empty() {
        text.push_str("(nothing was said about it)\n");
        return text;
    }
    let mut head = format!("{:TIME_WIDTH$}", "seconds");
    for column in &columns {
        write!(head, "{:^LANE_WIDTH$}", name(*column)).expect("text takes all");
    }
    writeln!(text, "{}", head.trim_end()).expect("text takes all");
    for line in lines {
        let row = row(&columns, line, focus);
        writeln!(text, "{}", cut(row.trim_end(), WIDTH_MAX)).expect("text takes all");
    }
    text
}

/// The rows that fit a page: what is about the focus, and what went wrong or was said to all meanwhile.
fn relevant<'a>(lines: &'a [Line], focus: &Focus) -> Vec<&'a Line> {
    let is_about = |line: &&Line| line.items.iter().any(|item| focus.is_about(item));
    let of_command =
        |line: &Line| focus.command.is_some() && line.items.iter().any(|item| item.command == focus.command);
    let first = lines.iter().find(|line| of_command(line)).map_or(0, |line| line.at.saturating_sub(BEFORE));
    let last = lines
        .iter()
        .rev()
        .find(|line| if focus.command.is_some() { of_command(line) } else { is_about(line) });
    let moment = focus.at.or(last.map(|line| line.at)).unwrap_or(Micros::MAX);
    // Whoever is in it: the others' trouble is not its story.
    let involved: BTreeSet<Actor> = lines.iter().filter(is_about).flat_map(Line::actors).collect();
    let is_general = |line: &Line| {
        line.items.iter().all(|item| item.device.is_none() && item.command.is_none())
            && line.actors().all(|actor| involved.contains(&actor))
    };
    let found: Vec<&Line> =
        lines.iter().filter(|line| line.at >= first && (is_about(line) || is_general(line))).collect();
    let split = found.partition_point(|line| line.at <= moment);
    let behind = found.len().min(split + ROWS_BEHIND_MAX);
    let mut chosen = found[..behind].to_vec();
    // Too many: the oldest go, those of the device's other commands and events first, and those of the command last.
    let is_other = |item: &Item| {
        item.command.is_some() || item.words.starts_with("event") || item.words.starts_with("PUBLISH")
    };
    let rank = |line: &Line| {
        if of_command(line) || matches!(line.what, What::Mark(Some(_))) {
            2
        } else {
            usize::from(is_about(&line) && !line.items.iter().all(is_other))
        }
    };
    for least in 0..3 {
        let mut excess = chosen.len().saturating_sub(ROWS_MAX);
        chosen.retain(|line| {
            let goes = excess > 0 && rank(line) == least;
            excess -= usize::from(goes);
            !goes
        });
    }
    chosen
}

fn row(columns: &[Actor], line: &Line, focus: &Focus) -> String {
    let centre = |actor: Actor| {
        let column = columns.iter().position(|column| *column == actor)?;
        Some(column * LANE_WIDTH + LANE_WIDTH / 2)
    };
    let mut lanes = vec![' '; columns.len() * LANE_WIDTH];
    for column in columns {
        if let Some(place) = centre(*column) {
            lanes[place] = '|';
        }
    }
    let mut late = String::new();
    match line.what {
        What::Message { from, to, sent_at, is_lost } => {
            if let (Some(from), Some(to)) = (centre(from), centre(to)) {
                arrow(&mut lanes, from, to, is_lost);
            }
            if is_lost {
                late.push_str(" LOST");
            }
            if line.at - sent_at > LATE {
                write!(late, " (sent at {})", seconds(sent_at)).expect("text takes all");
            }
        }
        What::Mark(place) => {
            if let Some(place) = place.and_then(centre) {
                lanes[place] = '#';
            }
        }
    }
    let is_mark = matches!(line.what, What::Mark(_));
    let items = line.items.iter().filter(|item| is_mark || focus.is_about(item) || item.device.is_none());
    let words: Vec<&str> = items.map(|item| item.words.as_str()).collect();
    let lanes: String = lanes.into_iter().collect();
    format!("{:>10} {lanes} {}{late}", seconds(line.at), words.join("; "))
}

/// From one column to another; what is lost does not get there.
fn arrow(lanes: &mut [char], from: usize, to: usize, is_lost: bool) {
    let (left, right) = (from.min(to), from.max(to));
    for place in &mut lanes[left + 1..right] {
        *place = if *place == '|' { '+' } else { '-' };
    }
    lanes[from] = 'o';
    let (tip, head) = if to > from { (to - 1, '>') } else { (to + 1, '<') };
    lanes[tip] = head;
    if is_lost {
        let broken = (from + 2 * to) / 3;
        lanes[broken] = 'X';
        let rest = if to > from { broken + 1..to } else { to + 1..broken };
        for place in &mut lanes[rest] {
            *place = if *place == '+' { '|' } else { ' ' };
        }
    }
}

fn name(actor: Actor) -> String {
    match actor {
        Actor::Device(index) => format!("device-{index}"),
        Actor::Gateway(index) => format!("gateway-{index}"),
        Actor::Broker => "broker".to_owned(),
        Actor::Router => "router".to_owned(),
        Actor::Service => "service".to_owned(),
    }
}

fn seconds(at: Micros) -> String {
    format!("{}.{:06}", at / SECOND, at % SECOND)
}

fn cut(line: &str, width: usize) -> String {
    line.chars().take(width).collect()
}

fn wrapped(title: &str) -> Vec<String> {
    let characters: Vec<char> = title.chars().collect();
    characters.chunks(WIDTH_MAX).map(|part| part.iter().collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_rule_says_what_its_diagram_is_about() {
        let focus = Focus::of("c41 came again to device 7 at 93000111 µs, though gateway 1 had it at 5 µs");
        assert_eq!(focus, Focus { device: Some(7), command: Some("c41".to_owned()), at: Some(93_000_111) });
        let focus = Focus::of("main/device-3 is at None, the router believes Some(\"eu-1\")");
        assert_eq!(focus, Focus { device: Some(3), command: None, at: None });
        assert_eq!(Focus::of("roost.settle.0 is not empty"), Focus::default());
    }

    #[test]
    fn an_arrow_starts_crosses_and_arrives_or_is_lost() {
        let lanes = || "  |    |    |  ".chars().collect::<Vec<char>>();
        let drawn = |from, to, is_lost| {
            let mut lanes = lanes();
            arrow(&mut lanes, from, to, is_lost);
            lanes.into_iter().collect::<String>()
        };
        assert_eq!(drawn(2, 12, false), "  o----+--->|  ");
        assert_eq!(drawn(12, 7, false), "  |    |<---o  ");
        assert_eq!(drawn(2, 12, true), "  o----+X   |  ");
        assert_eq!(drawn(12, 2, true), "  |  X-+----o  ");
    }
}
