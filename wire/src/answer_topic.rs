//! Where devices publish their answers to commands.

use crate::{CommandId, DeviceId, Topic};

/// A topic of each device, with `{device}` as one level (escaped as in command topics). What a device publishes there answers the
/// oldest of its commands that waits for an answer; what it publishes one level below, to `…/{command id}`, answers that command, and
/// that is the v5 Response Topic of the command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerTopic {
    /// What stands before the device, with its slash, or nothing.
    before: Box<str>,
    /// What stands behind it, with its slash.
    after: Box<str>,
}

/// Why a text is no template for answers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no topic for answers: {problem}")]
pub struct AnswerTopicError {
    text: String,
    problem: &'static str,
}

/// What stands for the device.
const DEVICE: &str = "{device}";

/// More would leave too little of the 255 bytes and 64 levels that topics have in other places.
const BYTES_MAX: usize = 100;

impl AnswerTopic {
    /// `devices/{device}/answer`, beside the default of commands, `devices/{device}/cmd`.
    pub const DEFAULT: &str = "devices/{device}/answer";

    /// Reads a template.
    ///
    /// # Errors
    /// `{device}` has to stand in it once, as a whole level with another one behind it; otherwise it is a topic name of at most 100
    /// bytes that does not begin with `$`.
    pub fn parse(text: &str) -> Result<Self, AnswerTopicError> {
        let fail = |problem| AnswerTopicError { text: text.to_owned(), problem };
        if text.len() > BYTES_MAX {
            return Err(fail("it is longer than 100 bytes"));
        }
        if Topic::check(text).is_err() || text.starts_with('$') {
            return Err(fail("it has to be a topic name without wildcards that does not begin with $"));
        }
        let (before, after) = text.split_once(DEVICE).ok_or_else(|| fail("{device} does not stand in it"))?;
        let is_level = (before.is_empty() || before.ends_with('/')) && after.starts_with('/');
        if !is_level || after.contains(DEVICE) {
            return Err(fail("{device} has to be one whole level, with another one behind it"));
        }
        if after.rsplit('/').next().is_some_and(|level| level.parse::<CommandId>().is_ok()) {
            return Err(fail("its last level reads like the id of a command"));
        }
        Ok(Self { before: before.into(), after: after.into() })
    }

    /// The v5 Response Topic of a command.
    #[must_use]
    pub fn of_command(&self, device: &DeviceId, command: CommandId) -> String {
        format!("{}{}{}/{command}", self.before, device.as_topic_level(), self.after)
    }

    /// Whether a topic may be some device's. The others are most, and told by their first bytes.
    #[must_use]
    pub fn may_be_answer(&self, topic: &str) -> bool {
        topic.starts_with(&*self.before)
    }

    /// Whether what this device publishes to that topic is an answer.
    #[must_use]
    pub fn is_answer(&self, device: &DeviceId, topic: &str) -> bool {
        let Some(rest) = topic.strip_prefix(&*self.before) else { return false };
        let rest = rest.strip_prefix(device.as_topic_level().as_str());
        match rest.and_then(|rest| rest.strip_prefix(&*self.after)) {
            None => false,
            Some("") => true,
            Some(below) => below.strip_prefix('/').is_some_and(|id| id.parse::<CommandId>().is_ok()),
        }
    }
}

impl Default for AnswerTopic {
    fn default() -> Self {
        Self::parse(Self::DEFAULT).expect("the constant is a template: a test reads it")
    }
}

impl std::str::FromStr for AnswerTopic {
    type Err = AnswerTopicError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl std::fmt::Display for AnswerTopic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{DEVICE}{}", self.before, self.after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(id: &str) -> DeviceId {
        DeviceId::parse(id).unwrap()
    }

    const COMMAND: CommandId = CommandId { journal: 0xbeef, sequence: 0x10 };

    #[test]
    fn a_device_answers_on_its_own_topic_and_below_it_with_a_command_id() {
        let topic = AnswerTopic::default();
        let cases = [
            ("devices/d/answer", true),
            ("devices/d/answer/0000beef-10", true),
            ("devices/d/answer/", false),
            ("devices/d/answer/hello", false),
            ("devices/d/answer/0000beef-10/x", false),
            ("devices/d/answers", false),
            ("devices/other/answer", false),
            ("devices/d", false),
            ("x/devices/d/answer", false),
        ];
        for (text, expected) in cases {
            assert_eq!(topic.is_answer(&device("d"), text), expected, "{text}");
        }
    }

    #[test]
    fn whatever_a_device_is_called_its_response_topic_is_its_own() {
        for template in [AnswerTopic::DEFAULT, "{device}/a", "a/b/{device}/c/d"] {
            let topic = AnswerTopic::parse(template).unwrap();
            assert_eq!(topic.to_string(), template);
            for id in ["d", "a/b", "50%", "0000beef-10", "answer", "ü"] {
                let response = topic.of_command(&device(id), COMMAND);
                assert!(Topic::check(&response).is_ok(), "{response}");
                assert!(topic.is_answer(&device(id), &response), "{response}");
                assert!(response.ends_with("/0000beef-10"), "{response}");
                for other in ["x", "a", "b"] {
                    assert!(!topic.is_answer(&device(other), &response), "{other} {response}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_template_is_refused() {
        let long = format!("{{device}}/{}", "x".repeat(100));
        for text in [
            "",
            "devices/answer",
            "devices/{device}",
            "devices/x{device}/answer",
            "devices/{device}x/answer",
            "{device}/{device}/answer",
            "devices/{device}/#",
            "$devices/{device}/answer",
            "devices/{device}/1-1",
            &long,
        ] {
            assert!(AnswerTopic::parse(text).is_err(), "{text}");
        }
    }
}
