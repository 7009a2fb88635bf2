//! How much is the most? Doubles what is offered until it does not hold, then halves the gap. A rate that does not hold is tried once
//! more: the machine has pauses that are not the mesh's.

use std::future::Future;

/// How often the gap is halved: to about 6% of the result.
const HALVINGS: u32 = 3;

/// How often a rate is tried.
pub(crate) const TRIES: u32 = 2;

/// The highest rate that holds in one of [`TRIES`], with what was measured at it. `try_rate` says `None` where it does not hold.
///
/// # Errors
/// Those of `try_rate`, and that not even the first rate holds.
pub(crate) async fn highest<T, F>(first: f64, mut try_rate: impl FnMut(f64) -> F) -> anyhow::Result<(f64, T)>
where
    F: Future<Output = anyhow::Result<Option<T>>>,
{
    let mut try_again = async |rate| {
        for _ in 1..TRIES {
            if let Some(measured) = try_rate(rate).await? {
                return Ok(Some(measured));
            }
        }
        try_rate(rate).await
    };
    let mut held: Option<(f64, T)> = None;
    let mut rate = first;
    while let Some(measured) = try_again(rate).await? {
        held = Some((rate, measured));
        rate *= 2.0;
    }
    let Some((mut low, mut measured)) = held else { anyhow::bail!("not even {first} a second hold") };
    let mut high = rate;
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high).round();
        match try_again(middle).await? {
            Some(better) => (low, measured) = (middle, better),
            None => high = middle,
        }
    }
    Ok((low, measured))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_highest_rate_is_found_between_what_holds_and_what_does_not() {
        for limit in [1_000.0, 1_001.0, 3_700.0, 7_999.0] {
            let found =
                highest(1_000.0, |rate| async move { Ok((rate <= limit).then_some(rate)) }).await.unwrap();
            assert!(found.0 <= limit && found.0 > limit * 0.88, "{found:?} for {limit}");
            assert_eq!(found.0, found.1, "what is returned was measured at the rate");
        }
        assert!(highest(10.0, |_| async { Ok(None::<()>) }).await.is_err());
        let mut tries = 0;
        let with_a_pause = highest(1_000.0, |rate| {
            tries += 1;
            let held = rate <= 3_700.0 && tries != 2;
            async move { Ok(held.then_some(rate)) }
        });
        assert!(with_a_pause.await.unwrap().0 > 3_700.0 * 0.88, "a single pause decides nothing");
    }
}
