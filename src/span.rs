//! A time as people type it: `500ms`, `5s`, `10m`, `2h`, `7d`.

use std::time::Duration;

/// The longest `--wait`: the API holds a connection for no longer.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Reads a time: whole digits and a unit.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let error = || format!("{text:?} is not a time; expected for example 500ms, 5s, 10m, 2h or 7d");
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(error)?;
    let (digits, unit) = text.split_at(unit_at);
    let count: u64 = digits.parse().map_err(|_| error())?;
    let unit_ms: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(error()),
    };
    count.checked_mul(unit_ms).map(Duration::from_millis).ok_or_else(error)
}

/// Reads a time to wait for an answer.
pub(crate) fn parse_wait(text: &str) -> Result<Duration, String> {
    match parse(text)? {
        wait if wait > WAIT_MAX => Err(format!("{text} is longer than the API waits, {}", show(WAIT_MAX))),
        wait => Ok(wait),
    }
}

/// Writes a time so that a person sees its size: the greatest unit that fits, and the next one down.
pub(crate) fn show(span: Duration) -> String {
    let (ms, s) = (span.as_millis(), span.as_secs());
    match s {
        0 => format!("{ms} ms"),
        1..=9 => format!("{}.{} s", s, span.subsec_millis() / 100),
        10..=59 => format!("{s} s"),
        60..=3_599 => format!("{} min {} s", s / 60, s % 60),
        3_600..=86_399 => format!("{} h {} min", s / 3_600, s % 3_600 / 60),
        _ => format!("{} d {} h", s / 86_400, s % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_unit() {
        let cases = [
            ("0s", 0),
            ("500ms", 500),
            ("5s", 5_000),
            ("10m", 600_000),
            ("2h", 7_200_000),
            ("7d", 604_800_000),
        ];
        for (text, ms) in cases {
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in
            ["", "5", "s", "5 s", "-5s", "5.5s", "5w", "99999999999999999999s", "9999999999999999999d"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse_wait("60s").is_ok() && parse_wait("61s").is_err());
    }

    #[test]
    fn times_are_shown_in_their_size() {
        let cases = [
            (7, "7 ms"),
            (1_250, "1.2 s"),
            (59_999, "59 s"),
            (61_000, "1 min 1 s"),
            (7_260_000, "2 h 1 min"),
            (90_000_000, "1 d 1 h"),
        ];
        for (ms, shown) in cases {
            assert_eq!(show(Duration::from_millis(ms)), shown);
        }
    }
}
