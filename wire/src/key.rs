//! AMQP routing keys: words joined by dots, each word escaped, the whole cut to fit AMQP's short string.

use crate::{Device, DeviceId, Tenant, Topic};

/// A routing key whose words hold no `.`, `*`, `#` or `%` of their own (they are written `%2E`, `%2A`, `%23`, `%25`), at most
/// 255 bytes long (AMQP 0-9-1, 4.2.5.3). What does not fit is cut between two words, and the last word is then `%cut`;
/// the whole topic travels in a header.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoutingKey(String);

/// Why a key does not name a device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("routing key {key:?} is not tenant.device: {reason}")]
pub struct KeyError {
    key: String,
    reason: String,
}

/// The last word of a key that was cut. No topic level escapes to it.
const CUT: &str = "%cut";

impl RoutingKey {
    /// AMQP's bound on a short string.
    pub const MAX_BYTES: usize = 255;

    /// `tenant.device`: commands. Never cut: the longest is 32 + 1 + 3 × 64 bytes.
    #[must_use]
    pub fn for_device(device: &Device) -> Self {
        Self::from_words([device.tenant.as_str(), device.id.as_str()])
    }

    /// `tenant.device.word`: receipts and presence, where the word is a state.
    #[must_use]
    pub fn for_state(device: &Device, state: &str) -> Self {
        Self::from_words([device.tenant.as_str(), device.id.as_str(), state])
    }

    /// `tenant.device.level1.level2…`: events.
    #[must_use]
    pub fn for_event(device: &Device, topic: &Topic) -> Self {
        Self::from_words([device.tenant.as_str(), device.id.as_str()].into_iter().chain(topic.levels()))
    }

    /// `level1.level2…`: broadcasts.
    #[must_use]
    pub fn for_topic(topic: &Topic) -> Self {
        Self::from_words(topic.levels())
    }

    /// The key as AMQP carries it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads the device back out of `tenant.device` (or a longer key that begins with it).
    ///
    /// # Errors
    /// [`KeyError`] if a word is missing, wrongly escaped, or not a tenant or device id.
    pub fn device(key: &str) -> Result<Device, KeyError> {
        let error = |reason: String| KeyError { key: key.to_owned(), reason };
        let mut words = key.split('.');
        let mut word = |what: &str| {
            let word = words.next().ok_or_else(|| error(format!("it has no {what}")))?;
            unescape(word).ok_or_else(|| error(format!("its {what} {word:?} is wrongly escaped")))
        };
        let (tenant, id) = (word("tenant")?, word("device")?);
        let tenant = Tenant::parse(&tenant).map_err(|e| error(e.to_string()))?;
        let id = DeviceId::parse(&id).map_err(|e| error(e.to_string()))?;
        Ok(Device::new(tenant, id))
    }

    fn from_words<'a>(words: impl IntoIterator<Item = &'a str>) -> Self {
        let mut key = String::new();
        // Where the key ends if a later word does not fit: the last place that leaves room for ".%cut".
        let mut cut_at = 0;
        for (i, word) in words.into_iter().enumerate() {
            if i > 0 {
                key.push('.');
            }
            escape_into(&mut key, word);
            if key.len() > Self::MAX_BYTES {
                key.truncate(cut_at);
                if cut_at > 0 {
                    key.push('.');
                }
                key.push_str(CUT);
                break;
            }
            if key.len() + 1 + CUT.len() <= Self::MAX_BYTES {
                cut_at = key.len();
            }
        }
        Self(key)
    }
}

impl std::fmt::Display for RoutingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

fn escape_into(key: &mut String, word: &str) {
    for c in word.chars() {
        match c {
            '.' => key.push_str("%2E"),
            '*' => key.push_str("%2A"),
            '#' => key.push_str("%23"),
            '%' => key.push_str("%25"),
            _ => key.push(c),
        }
    }
}

/// Takes any `%XX`, since people write keys by hand too.
fn unescape(word: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first != b'%' {
            bytes.push(first);
            rest = tail;
            continue;
        }
        let (digits, tail) = tail.split_at_checked(2)?;
        let high = char::from(digits[0]).to_digit(16)?;
        let low = char::from(digits[1]).to_digit(16)?;
        bytes.push(u8::try_from(high * 16 + low).ok()?);
        rest = tail;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn device(text: &str) -> Device {
        text.parse().unwrap()
    }

    #[test]
    fn words_are_escaped_so_that_no_level_adds_a_word_or_a_wildcard() {
        let topic = Topic::parse("a.b/c*d/%/e").unwrap();
        let key = RoutingKey::for_event(&device("main/x.y"), &topic);
        assert_eq!(key.as_str(), "main.x%2Ey.a%2Eb.c%2Ad.%25.e");
    }

    #[test]
    fn a_long_topic_is_cut_between_two_levels() {
        let topic = Topic::parse(&["level-10by"; 40].join("/")).unwrap();
        let key = RoutingKey::for_event(&device("d"), &topic);
        assert!(key.as_str().len() <= 255);
        assert!(key.as_str().ends_with(".level-10by.%cut"), "{key}");
        let huge = Topic::parse(&"x".repeat(300)).unwrap();
        assert_eq!(RoutingKey::for_event(&device("d"), &huge).as_str(), "main.d.%cut");
        assert_eq!(RoutingKey::for_topic(&huge).as_str(), "%cut");
    }

    #[test]
    fn a_key_of_just_255_bytes_is_not_cut() {
        let topic = Topic::parse(&"x".repeat(255 - "main.d.".len())).unwrap();
        assert_eq!(RoutingKey::for_event(&device("d"), &topic).as_str().len(), 255);
        assert!(!RoutingKey::for_event(&device("d"), &topic).as_str().contains('%'));
    }

    #[test]
    fn what_names_no_device_is_refused() {
        for key in [
            "",
            "main",
            "main.",
            ".d",
            "Main.d",
            "main.a%2",
            "main.a%zz",
            "main.a%ff",
            "main.a%2B",
            "main.a%+1",
        ] {
            assert!(RoutingKey::device(key).is_err(), "{key:?}");
        }
    }

    proptest! {
        #[test]
        fn a_device_reads_back_from_its_key(id in "[^\u{0}-\u{1f}\u{7f}-\u{9f}+#]{1,16}") {
            let device = Device::new(Tenant::default(), DeviceId::parse(&id).unwrap());
            let key = RoutingKey::for_device(&device);
            prop_assert!(key.as_str().len() <= RoutingKey::MAX_BYTES);
            prop_assert_eq!(key.as_str().split('.').count(), 2);
            prop_assert_eq!(RoutingKey::device(key.as_str()), Ok(device));
        }

        #[test]
        fn no_key_is_too_long_and_none_has_a_wildcard(text in "[a.*%é/]{1,400}") {
            let key = RoutingKey::for_topic(&Topic::parse(&text).unwrap_or_else(|_| Topic::parse("deep").unwrap()));
            prop_assert!(key.as_str().len() <= RoutingKey::MAX_BYTES);
            prop_assert!(!key.as_str().contains(['*', '#']));
        }
    }
}
