//! Bounds that a run is held against: `p99_ms<50,lost=0`.

use serde::{Deserialize, Serialize};

/// One bound.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// Of which figure of [`crate::Summary::figures`].
    pub figure: String,
    /// How it must compare.
    pub comparison: Comparison,
    /// With which number.
    pub bound: f64,
}

/// How a figure must compare with its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Comparison {
    /// `<`
    Below,
    /// `<=`
    AtMost,
    /// `=`
    Equal,
    /// `>=`
    AtLeast,
    /// `>`
    Above,
}

/// Why a text is no list of checks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// It has no comparison or no number.
    #[error("{0:?} is no check; expected for example p99_ms<50 or lost=0")]
    Form(String),
    /// There is no such figure.
    #[error("there is no figure {name:?}; a run as this one has: {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
}

impl Comparison {
    /// Longer signs first, as they begin with shorter ones.
    const SIGNS: [(&str, Self); 5] = [
        ("<=", Self::AtMost),
        (">=", Self::AtLeast),
        ("<", Self::Below),
        (">", Self::Above),
        ("=", Self::Equal),
    ];

    /// As it is typed.
    #[must_use]
    pub const fn sign(self) -> &'static str {
        match self {
            Self::Below => "<",
            Self::AtMost => "<=",
            Self::Equal => "=",
            Self::AtLeast => ">=",
            Self::Above => ">",
        }
    }
}

impl Check {
    /// Reads a list, separated by commas.
    ///
    /// # Errors
    /// [`CheckError`] with the first that is none.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, CheckError> {
        text.split(',').map(|check| check.trim().parse()).collect()
    }

    /// Whether there will be such a figure: so that a mistyped check fails before the run and not after it.
    ///
    /// # Errors
    /// [`CheckError::Unknown`] with what there is.
    pub fn is_among(&self, known: &[String]) -> Result<(), CheckError> {
        match known.contains(&self.figure) {
            true => Ok(()),
            false => Err(CheckError::Unknown { name: self.figure.clone(), known: known.join(", ") }),
        }
    }

    /// Whether a value is within the bound.
    #[must_use]
    pub fn holds(&self, value: f64) -> bool {
        match self.comparison {
            Comparison::Below => value < self.bound,
            Comparison::AtMost => value <= self.bound,
            Comparison::Equal => (value - self.bound).abs() < 1e-9,
            Comparison::AtLeast => value >= self.bound,
            Comparison::Above => value > self.bound,
        }
    }
}

impl std::str::FromStr for Check {
    type Err = CheckError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || CheckError::Form(text.to_owned());
        let text = text.trim();
        let at = text.find(['<', '>', '=']).ok_or_else(error)?;
        let (figure, rest) = text.split_at(at);
        let found = Comparison::SIGNS.into_iter().find(|(sign, _)| rest.starts_with(sign));
        let (sign, comparison) = found.ok_or_else(error)?;
        let bound: f64 = rest[sign.len()..].trim().parse().map_err(|_| error())?;
        match figure.trim() {
            figure if !figure.is_empty() && bound.is_finite() => {
                Ok(Self { figure: figure.to_owned(), comparison, bound })
            }
            _ => Err(error()),
        }
    }
}

impl std::fmt::Display for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}{}", self.figure, self.comparison.sign(), self.bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_read_and_hold_or_not() {
        let checks = Check::parse_list("p99_ms<50, lost=0,up.rate>=9.5").unwrap();
        assert_eq!(
            checks.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["p99_ms<50", "lost=0", "up.rate>=9.5"]
        );
        let holds = |text: &str, value| text.parse::<Check>().unwrap().holds(value);
        for (text, good, bad) in
            [("a<5", 4.9, 5.0), ("a<=5", 5.0, 5.1), ("a=0", 0.0, 1.0), ("a>=5", 5.0, 4.9), ("a>5", 5.1, 5.0)]
        {
            assert!(holds(text, good) && !holds(text, bad), "{text}");
            assert!(!holds(text, f64::NAN), "{text}: what was not measured holds no bound");
        }
    }

    #[test]
    fn what_is_no_check_is_named() {
        for text in ["", "p99", "<5", "a<", "a<b", "a!5", "a<inf"] {
            assert_eq!(text.parse::<Check>(), Err(CheckError::Form(text.to_owned())));
        }
        let error = "p98_ms<1".parse::<Check>().unwrap().is_among(&["p99_ms".to_owned()]).unwrap_err();
        assert_eq!(error.to_string(), "there is no figure \"p98_ms\"; a run as this one has: p99_ms");
    }
}
