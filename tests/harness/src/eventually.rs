//! The one place where tests wait.

use std::time::{Duration, Instant};

/// How long a test waits for what should come at once. It bounds a failing run and measures nothing: it is as long
/// as it is because a loaded machine of two cores must not make a right answer look wrong.
pub const PATIENCE: Duration = Duration::from_secs(60);

const PAUSE: Duration = Duration::from_millis(25);

/// Asks `probe` again and again until it answers `Ok`, and returns that.
///
/// # Panics
/// When `within` has passed: with `what` and the last `Err`.
pub async fn eventually<T, Answer>(what: &str, within: Duration, mut probe: impl FnMut() -> Answer) -> T
where
    Answer: Future<Output = Result<T, String>>,
{
    let deadline = Instant::now() + within;
    loop {
        match probe().await {
            Ok(value) => return value,
            Err(last) if Instant::now() >= deadline => {
                panic!("not within {within:?}: {what}; last seen: {last}")
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    #[tokio::test]
    async fn returns_the_first_ok() {
        let mut asked = 0;
        let answer = eventually("the third answer", PATIENCE, || {
            asked += 1;
            ready(if asked == 3 { Ok(asked) } else { Err(format!("only {asked}")) })
        })
        .await;
        assert_eq!(answer, 3);
    }

    #[tokio::test]
    #[should_panic(expected = "not within 0ns: a miracle; last seen: none")]
    async fn says_what_it_saw_last() {
        eventually("a miracle", Duration::ZERO, async || Err::<(), _>("none".to_owned())).await;
    }
}
