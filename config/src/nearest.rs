//! The name that somebody who mistyped most likely meant.

/// The nearest of `names`, if one is near enough to be a guess and not noise: at most a third of its letters differ.
pub(crate) fn nearest<'a>(typed: &str, names: &[&'a str]) -> Option<&'a str> {
    let by_distance = names.iter().map(|name| (distance(typed, name), *name)).min()?;
    let (letters_differ, name) = by_distance;
    (letters_differ <= name.chars().count().div_ceil(3)).then_some(name)
}

/// Letters to insert, delete, replace or swap with their neighbour (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = match (i, j) {
                (0, n) | (n, 0) => n,
                _ => {
                    let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                    let one_more = rows[i - 1][j].min(rows[i][j - 1]) + 1;
                    let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                    let swap = if swapped { rows[i - 2][j - 2] + 1 } else { usize::MAX };
                    replace.min(one_more).min(swap)
                }
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_finds_its_name_and_noise_does_not() {
        let names = ["id", "listen", "lease_s", "shutdown_grace_s"];
        let cases = [
            ("lisen", Some("listen")),
            ("lsiten", Some("listen")),
            ("Listen", Some("listen")),
            ("lease", Some("lease_s")),
            ("lease_ms", Some("lease_s")),
            ("shutdown_grace", Some("shutdown_grace_s")),
            ("di", Some("id")),
            ("colour", None),
        ];
        for (typed, expected) in cases {
            assert_eq!(nearest(typed, &names), expected, "{typed}");
        }
        assert_eq!(nearest("x", &[]), None);
    }
}
