//! Where a device publishes: a topic with places for its name.

use roost_wire::{Device, DeviceId, RoutingKey, Tenant, Topic};
use serde::{Deserialize, Serialize};

/// A topic in which `{device}` stands for the client id, `{index}` for the device's number and `{index%N}` for its number
/// modulo N, so that devices can share topics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TopicPattern(String);

/// Why a text is no topic pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no topic pattern: {problem}")]
pub struct TopicPatternError {
    text: String,
    problem: String,
}

impl Default for TopicPattern {
    fn default() -> Self {
        Self("devices/{device}/state".to_owned())
    }
}

impl TopicPattern {
    /// The topic of one device.
    #[must_use]
    pub fn of(&self, client_id: &str, index: u32) -> String {
        let mut topic = String::with_capacity(self.0.len() + client_id.len());
        let mut rest = self.0.as_str();
        while let Some((before, behind)) = rest.split_once('{') {
            topic += before;
            let (name, after) = behind.split_once('}').expect("parsing saw that each is closed");
            match place(name).expect("parsing saw that each is known") {
                Place::Device => topic += client_id,
                Place::Index(modulus) => topic += &(index % modulus).to_string(),
            }
            rest = after;
        }
        topic + rest
    }

    /// The key with which a queue gets what these devices publish there, and little of what others do: `*` where a level is not the same for
    /// all. The client id and number are those of the device with the longest topic.
    pub(crate) fn binding(&self, client_id: &str, index: u32) -> String {
        let key = Topic::parse(&self.of(client_id, index)).map(|topic| {
            let id = DeviceId::parse(client_id).expect("the plan's prefix was checked");
            RoutingKey::for_event(&Device::new(Tenant::default(), id), &topic)
        });
        let key = key.expect("parsing tried the longest");
        let words = key.as_str().split('.').skip(2).zip(self.0.split('/'));
        // A key that does not fit is cut, and a shorter client id leaves room for more of it.
        let words = words.map(|(word, level)| match () {
            () if word.starts_with("%cut") => "#",
            () if level.contains('{') => "*",
            () => word,
        });
        ["*", "*"].into_iter().chain(words).collect::<Vec<_>>().join(".")
    }
}

impl std::str::FromStr for TopicPattern {
    type Err = TopicPatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |problem: &str| TopicPatternError { text: text.to_owned(), problem: problem.to_owned() };
        let mut rest = text;
        while let Some((_, behind)) = rest.split_once('{') {
            let (name, after) = behind.split_once('}').ok_or_else(|| error("{ without }"))?;
            place(name).ok_or_else(|| {
                error(&format!("{{{name}}} is not known; there are {{device}}, {{index}} and {{index%N}}"))
            })?;
            rest = after;
        }
        let pattern = Self(text.to_owned());
        let longest = pattern.of(&"x".repeat(64), u32::MAX);
        Topic::parse(&longest).map_err(|problem| error(&problem.to_string()))?;
        Ok(pattern)
    }
}

enum Place {
    Device,
    Index(u32),
}

fn place(name: &str) -> Option<Place> {
    match name {
        "device" => Some(Place::Device),
        "index" => Some(Place::Index(u32::MAX)),
        _ => name.strip_prefix("index%")?.parse().ok().filter(|n| *n > 0).map(Place::Index),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_filled() {
        let of = |text: &str| text.parse::<TopicPattern>().unwrap().of("d-7", 1_234);
        assert_eq!(of("a/b"), "a/b");
        assert_eq!(of("devices/{device}/state"), "devices/d-7/state");
        assert_eq!(of("{index}/{index%100}/x"), "1234/34/x");
    }

    #[test]
    fn a_binding_is_as_narrow_as_the_pattern() {
        let binding = |text: &str| text.parse::<TopicPattern>().unwrap().binding("d-7", 1_234);
        assert_eq!(binding("a/b.c"), "*.*.a.b%2Ec");
        assert_eq!(binding("devices/{device}/state"), "*.*.devices.*.state");
        assert_eq!(binding("x/of-{index%10}/a*/{index}"), "*.*.x.*.a%2A.*");
        let long = "y".repeat(120);
        assert_eq!(binding(&format!("a/{long}/{long}/{long}")), format!("*.*.a.{long}.#"));
    }

    #[test]
    fn what_is_no_topic_is_refused_with_the_reason() {
        for text in ["", "a/#", "a/{device", "a/{name}", "a/{index%0}"] {
            let error = text.parse::<TopicPattern>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("{text:?} is no topic pattern: ")), "{error}");
        }
    }
}
