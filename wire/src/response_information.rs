//! What a device is told to begin its own response topics with.

use crate::{DeviceId, Topic};

/// The beginning of topic names, with `{device}` as one level (escaped as in command topics), so that each device has a part of the topic
/// tree to itself. A device of MQTT 5 that asks others gets it as the Response Information of its CONNACK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseInformation {
    /// What stands before the device, with its slash, or nothing.
    before: Box<str>,
    /// What stands behind it, with its slash, or nothing.
    after: Box<str>,
}

/// Why a text is no template for response information.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no beginning of response topics: {problem}")]
pub struct ResponseInformationError {
    text: String,
    problem: &'static str,
}

/// What stands for the device.
const DEVICE: &str = "{device}";

/// More would leave too little of the levels and bytes that topics have in other places.
const BYTES_MAX: usize = 100;

impl ResponseInformation {
    /// Reads a template.
    ///
    /// # Errors
    /// `{device}` has to stand in it once, as a whole level; otherwise it is a topic name of at most 100 bytes, which may end in a slash
    /// and does not begin with `$`.
    pub fn parse(text: &str) -> Result<Self, ResponseInformationError> {
        let fail = |problem| ResponseInformationError { text: text.to_owned(), problem };
        if text.len() > BYTES_MAX {
            return Err(fail("it is longer than 100 bytes"));
        }
        if Topic::check(text).is_err() || text.starts_with('$') {
            return Err(fail("it has to be a topic name without wildcards that does not begin with $"));
        }
        let (before, after) = text.split_once(DEVICE).ok_or_else(|| fail("{device} does not stand in it"))?;
        let is_level =
            (before.is_empty() || before.ends_with('/')) && (after.is_empty() || after.starts_with('/'));
        if !is_level || after.contains(DEVICE) {
            return Err(fail("{device} has to be one whole level"));
        }
        Ok(Self { before: before.into(), after: after.into() })
    }

    /// What this device is told.
    #[must_use]
    pub fn of(&self, device: &DeviceId) -> String {
        format!("{}{}{}", self.before, device.as_topic_level(), self.after)
    }
}

impl std::str::FromStr for ResponseInformation {
    type Err = ResponseInformationError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_device_is_told_a_part_of_the_tree_of_its_own() {
        let device = DeviceId::parse("a/b").unwrap();
        for (template, told) in [
            ("local/answers/{device}/", "local/answers/a%2Fb/"),
            ("answers/{device}", "answers/a%2Fb"),
            ("{device}/x/y", "a%2Fb/x/y"),
        ] {
            assert_eq!(ResponseInformation::parse(template).unwrap().of(&device), told);
        }
    }

    #[test]
    fn what_is_no_template_is_refused() {
        let long = format!("{{device}}/{}", "x".repeat(100));
        for text in
            ["", "answers", "x{device}", "{device}x", "{device}/{device}", "{device}/#", "$x/{device}", &long]
        {
            assert!(ResponseInformation::parse(text).is_err(), "{text}");
        }
    }
}
