//! What a SUBSCRIBE may name: a topic filter, or one that is shared.

use std::fmt;
use std::sync::Arc;

use roost_wire::{TopicError, TopicFilter};

/// What is subscribed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Filter {
    /// By one client for itself.
    Own(TopicFilter),
    /// By a client as a member of a group.
    Shared(SharedFilter),
}

/// `$share/{ShareName}/{filter}`: both together name a group; with another of either it is another group. (MQTT5 §4.8.2)
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct SharedFilter {
    name: ShareName,
    filter: TopicFilter,
}

/// At least one character, none of them `/`, `+`, `#` [MQTT-4.8.2-1], [MQTT-4.8.2-2].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ShareName(Arc<str>);

/// Why nothing can be subscribed to by that text. The client is at fault: SUBACK 0x8F (3.1.1: 0x80).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FilterError {
    /// The filter, shared or not, is none.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// There is none, or it has a wildcard in it.
    #[error("{name:?} is no share name")]
    ShareName {
        /// What stands in its place.
        name: String,
    },
    /// Nothing stands behind the share name, or another shared filter.
    #[error("{filter:?} can not be shared")]
    NotShareable {
        /// What stands there.
        filter: String,
    },
}

const PREFIX: &str = "$share/";

impl Filter {
    /// Reads the filter of a SUBSCRIBE or an UNSUBSCRIBE.
    ///
    /// # Errors
    /// [`FilterError`] says what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, FilterError> {
        match text.strip_prefix(PREFIX) {
            Some(shared) => SharedFilter::parse(shared).map(Self::Shared),
            None if text == "$share" => Err(FilterError::ShareName { name: String::new() }),
            None => Ok(Self::Own(TopicFilter::parse(text)?)),
        }
    }
}

impl SharedFilter {
    /// Reads what stands behind the prefix.
    fn parse(text: &str) -> Result<Self, FilterError> {
        let (name, filter) = text.split_once('/').unwrap_or((text, ""));
        if name.is_empty() || name.contains(['+', '#']) {
            return Err(FilterError::ShareName { name: name.to_owned() });
        }
        if filter.is_empty() || filter == "$share" || filter.starts_with(PREFIX) {
            return Err(FilterError::NotShareable { filter: filter.to_owned() });
        }
        Ok(Self { name: ShareName(name.into()), filter: TopicFilter::parse(filter)? })
    }

    /// What topics have to match.
    pub(crate) fn filter(&self) -> &TopicFilter {
        &self.filter
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(filter) => filter.fmt(f),
            Self::Shared(SharedFilter { name, filter }) => write!(f, "{PREFIX}{}/{filter}", name.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shared(text: &str) -> SharedFilter {
        match Filter::parse(text).unwrap() {
            Filter::Shared(shared) => shared,
            Filter::Own(filter) => panic!("{filter} is not shared"),
        }
    }

    #[test]
    fn a_share_name_and_a_filter_are_taken_apart() {
        for (text, name, filter) in [
            ("$share/g/a", "g", "a"),
            ("$share/g/+/b/#", "g", "+/b/#"),
            ("$share/g/#", "g", "#"),
            ("$share/g//a", "g", "/a"),
            ("$share/g/$SYS/#", "g", "$SYS/#"),
            ("$share/$share/a", "$share", "a"),
            ("$share/ein Name/é", "ein Name", "é"),
        ] {
            let parsed = shared(text);
            assert_eq!((&*parsed.name.0, parsed.filter().as_str()), (name, filter), "{text}");
        }
    }

    #[test]
    fn what_has_no_name_or_no_filter_is_refused() {
        for text in
            ["$share", "$share/", "$share//a", "$share/+/a", "$share/#", "$share/a#/b", "$share/a+b/c"]
        {
            assert!(matches!(Filter::parse(text), Err(FilterError::ShareName { .. })), "{text}");
        }
        for text in ["$share/g", "$share/g/", "$share/g/$share/h/a", "$share/g/$share"] {
            assert!(matches!(Filter::parse(text), Err(FilterError::NotShareable { .. })), "{text}");
        }
        for text in ["$share/g/a#", "$share/g/#/a", "a/#/b", ""] {
            assert!(matches!(Filter::parse(text), Err(FilterError::Topic(_))), "{text}");
        }
    }

    #[test]
    fn what_only_looks_like_it_is_not_shared() {
        for text in ["$shared/g/a", "a/$share/g/b", "$SHARE/g/a", "share/g/a", "$"] {
            assert!(matches!(Filter::parse(text), Ok(Filter::Own(_))), "{text}");
        }
    }

    #[test]
    fn a_shared_filter_may_be_as_deep_as_any() {
        let deepest = ["+"; 64].join("/");
        assert_eq!(shared(&format!("$share/g/{deepest}")).filter().as_str(), deepest);
        assert!(Filter::parse(&format!("$share/g/{deepest}/+")).is_err());
    }

    proptest! {
        #[test]
        fn it_is_written_as_it_was_read(text in prop_oneof!["\\$share/[a-c+#/$]{0,8}", any::<String>()]) {
            if let Ok(filter) = Filter::parse(&text) {
                prop_assert_eq!(filter.to_string(), text);
            }
        }
    }
}
