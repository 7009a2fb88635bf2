//! MQTT topic names and filters, parsed once. [MQTT-4.7]

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::DeviceId;

/// A topic name: 1 to 65,535 bytes, no wildcard, no NUL, at most 64 levels. What is published to. [MQTT-4.7.1-1]
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Topic(Arc<str>);

/// A topic filter: like a topic, where `+` stands for one whole level and `#` for the rest. What is subscribed to.
/// [MQTT-4.7.1-2] [MQTT-4.7.1-3]
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TopicFilter(Arc<str>);

/// Why a topic or filter was refused. The client is at fault; it will be refused again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// [MQTT-4.7.3-1]
    #[error("topic is empty")]
    Empty,
    /// [MQTT-4.7.3-3]
    #[error("topic is {bytes} bytes long, at most 65535 are allowed")]
    TooLong {
        /// Its length in bytes.
        bytes: usize,
    },
    /// [MQTT-4.7.3-2]
    #[error("topic {topic:?} has U+0000 in it")]
    Nul {
        /// The whole topic.
        topic: String,
    },
    /// The mesh's own bound: no tree is deeper.
    #[error("topic has {levels} levels, at most 64 are allowed")]
    TooDeep {
        /// How many it has.
        levels: usize,
    },
    /// A wildcard in a name, or one that does not stand for a whole level, or `#` before the end.
    #[error("topic {topic:?} has a wildcard where none may stand, in level {level:?}")]
    Wildcard {
        /// The whole topic.
        topic: String,
        /// The level at fault.
        level: String,
    },
}

/// The most levels a topic or a filter may have.
const LEVELS_MAX: usize = 64;

impl Topic {
    /// The most levels a topic may have.
    pub const LEVELS_MAX: usize = LEVELS_MAX;

    /// Checks a topic name and keeps a copy.
    ///
    /// # Errors
    /// [`TopicError`] says which clause it breaks.
    pub fn parse(text: &str) -> Result<Self, TopicError> {
        Self::check(text)?;
        Ok(Self(text.into()))
    }

    /// Checks a topic name where no copy is wanted.
    ///
    /// # Errors
    /// As [`Topic::parse`].
    pub fn check(text: &str) -> Result<(), TopicError> {
        check_bounds(text)?;
        match text.split('/').find(|level| level.contains(['+', '#'])) {
            Some(level) => Err(wildcard(text, level)),
            None => Ok(()),
        }
    }

    /// Where a command goes that names no topic: `devices/{device}/cmd`.
    #[must_use]
    pub fn default_for_commands(device: &DeviceId) -> Self {
        Self(format!("devices/{}/cmd", device.as_topic_level()).into())
    }

    /// The text as it was parsed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its levels, from the left; some may be empty. [MQTT-4.7.1-1]
    pub fn levels(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }
}

impl TopicFilter {
    /// Checks a topic filter and keeps a copy.
    ///
    /// # Errors
    /// [`TopicError`] says which clause it breaks.
    pub fn parse(text: &str) -> Result<Self, TopicError> {
        check_bounds(text)?;
        let last = text.split('/').count() - 1;
        for (i, level) in text.split('/').enumerate() {
            let stands_alone = level.len() == 1;
            let allowed = match (level.contains('+'), level.contains('#')) {
                (false, false) => true,
                (true, false) => stands_alone,
                (false, true) => stands_alone && i == last,
                (true, true) => false,
            };
            if !allowed {
                return Err(wildcard(text, level));
            }
        }
        Ok(Self(text.into()))
    }

    /// The text as it was parsed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its levels, from the left.
    pub fn levels(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// Whether it asks for a shared subscription (`$share/group/filter`). [MQTT-4.8.2]
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.0.starts_with("$share/") || &*self.0 == "$share"
    }

    /// Whether a topic matches. A wildcard in the first level never matches a topic that begins with `$`.
    /// [MQTT-4.7.2-1]
    #[must_use]
    pub fn matches(&self, topic: &str) -> bool {
        if topic.starts_with('$') && self.0.starts_with(['+', '#']) {
            return false;
        }
        let mut names = topic.split('/');
        for level in self.levels() {
            match (level, names.next()) {
                ("#", _) => return true,
                ("+", Some(_)) => {}
                (wanted, Some(name)) if wanted == name => {}
                _ => return false,
            }
        }
        names.next().is_none()
    }
}

impl From<Topic> for TopicFilter {
    fn from(topic: Topic) -> Self {
        Self(topic.0)
    }
}

/// Text in and out, the same for names and filters.
macro_rules! topic_as_text {
    ($($name:ident),*) => {$(
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl std::str::FromStr for $name {
            type Err = TopicError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::parse(text)
            }
        }
        impl TryFrom<String> for $name {
            type Error = TopicError;
            fn try_from(text: String) -> Result<Self, Self::Error> {
                Self::parse(&text)
            }
        }
        impl From<$name> for String {
            fn from(topic: $name) -> String {
                topic.0.as_ref().to_owned()
            }
        }
    )*};
}
topic_as_text!(Topic, TopicFilter);

fn check_bounds(text: &str) -> Result<(), TopicError> {
    if text.is_empty() {
        return Err(TopicError::Empty);
    }
    if text.len() > usize::from(u16::MAX) {
        return Err(TopicError::TooLong { bytes: text.len() });
    }
    if text.contains('\0') {
        return Err(TopicError::Nul { topic: text.to_owned() });
    }
    match text.split('/').count() {
        levels if levels > LEVELS_MAX => Err(TopicError::TooDeep { levels }),
        _ => Ok(()),
    }
}

fn wildcard(topic: &str, level: &str) -> TopicError {
    TopicError::Wildcard { topic: topic.to_owned(), level: level.to_owned() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_and_filters_are_parsed_by_the_specification() {
        for name in ["a", "/", "a//b", "$SYS/x", "a b", "é/ü"] {
            assert!(Topic::parse(name).is_ok(), "{name}");
            assert!(TopicFilter::parse(name).is_ok(), "{name}");
        }
        for filter in ["#", "+", "a/#", "+/+/#", "/+", "sport/+/player1", "$SYS/#"] {
            assert!(TopicFilter::parse(filter).is_ok(), "{filter}");
            assert!(Topic::parse(filter).is_err(), "{filter}");
        }
        for bad in ["", "a\0", "a#", "#/a", "a/#/b", "a+", "+a/b", "++"] {
            assert!(TopicFilter::parse(bad).is_err(), "{bad:?}");
            assert!(Topic::parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(Topic::parse(&"/".repeat(64)), Err(TopicError::TooDeep { levels: 65 }));
        assert!(Topic::parse(&"/".repeat(63)).is_ok());
        assert_eq!(Topic::parse(&"a".repeat(65_536)), Err(TopicError::TooLong { bytes: 65_536 }));
    }

    #[test]
    fn filters_match_as_the_specification_says() {
        let cases = [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
            ("sport/#", "sport", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("#", "$SYS/monitor", false),
            ("+/monitor", "$SYS/monitor", false),
            ("$SYS/#", "$SYS/monitor", true),
            ("a/b", "a/b", true),
            ("a/b", "a/b/", false),
        ];
        for (filter, topic, expected) in cases {
            assert_eq!(TopicFilter::parse(filter).unwrap().matches(topic), expected, "{filter} {topic}");
        }
    }

    #[test]
    fn a_shared_filter_is_recognised() {
        for (filter, shared) in
            [("$share/g/a", true), ("$share", true), ("$shared/g", false), ("a/$share/b", false)]
        {
            assert_eq!(TopicFilter::parse(filter).unwrap().is_shared(), shared, "{filter}");
        }
    }

    #[test]
    fn a_device_with_a_slash_has_one_level_of_its_own() {
        let topic = Topic::default_for_commands(&DeviceId::parse("a/b").unwrap());
        assert_eq!(topic.as_str(), "devices/a%2Fb/cmd");
    }

    proptest! {
        #[test]
        fn every_name_matches_itself_and_the_rest(text in "[a-c$/]{1,12}") {
            let topic = Topic::parse(&text).unwrap();
            prop_assert!(TopicFilter::from(topic.clone()).matches(topic.as_str()));
            let first = topic.levels().next().unwrap();
            let rest = TopicFilter::parse(&format!("{first}/#")).unwrap();
            prop_assert!(rest.matches(topic.as_str()));
        }

        #[test]
        fn parsing_never_panics(text in any::<String>()) {
            let _ = Topic::parse(&text);
            if let Ok(filter) = TopicFilter::parse(&text) {
                prop_assert_eq!(filter.as_str(), text);
            }
        }
    }
}
