//! `?wait=5s`.

use std::time::Duration;

use roost_ops::Problem;

use super::bad;

/// The longest wait: what proxies on the way commonly allow.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// The query of a command.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wait {
    #[serde(default)]
    wait: Option<String>,
}

impl Wait {
    /// How long to wait for the final receipt; `None` to wait for custody only.
    pub(super) fn parse(self) -> Result<Option<Duration>, Problem> {
        let Some(text) = self.wait else { return Ok(None) };
        let Some(wait) = duration(&text) else {
            return Err(bad(format!("wait is {text:?}, expected a time such as 500ms, 5s or 1m"), "wait"));
        };
        match wait <= WAIT_MAX {
            true => Ok(Some(wait)),
            false => {
                Err(bad(format!("wait is {text:?}, at most {} s are waited", WAIT_MAX.as_secs()), "wait"))
            }
        }
    }
}

fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(number.checked_mul(60)?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit_and_a_bound() {
        let wait = |text: &str| Wait { wait: Some(text.to_owned()) }.parse();
        assert_eq!(wait("250ms").unwrap(), Some(Duration::from_millis(250)));
        assert_eq!(wait("5s").unwrap(), Some(Duration::from_secs(5)));
        assert_eq!(wait("1m").unwrap(), Some(Duration::from_secs(60)));
        assert_eq!(Wait { wait: None }.parse().unwrap(), None);
        for text in ["", "5", "s", "-1s", "1.5s", "61s", "2h", "99999999999999999999s", "999999999999999999m"]
        {
            assert!(wait(text).is_err(), "{text:?}");
        }
    }
}
