//! Memory of a watched process over a fleet's measured time.

use roost_fleet::Summary;

/// What no file backs of it: pages of the program itself come and go as the system has room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Memory {
    first: u64,
    most: u64,
    last: u64,
}

impl Memory {
    /// Of the process of that name.
    pub(crate) fn of(summary: &Summary, name: &str) -> anyhow::Result<Self> {
        let measured = summary.timeline.iter().filter(|moment| moment.measured);
        let levels: Vec<u64> =
            measured.filter_map(|moment| moment.anonymous_bytes.get(name).copied()).collect();
        let (Some(&first), Some(&most), Some(&last)) = (levels.first(), levels.iter().max(), levels.last())
        else {
            anyhow::bail!("{name} was not watched");
        };
        Ok(Self { first, most, last })
    }

    /// `38 / 41 / 40 MiB`: at first, the most, at the end.
    pub(crate) fn first_most_last(self) -> String {
        let [first, most, last] =
            [self.first, self.most, self.last].map(|bytes| bytes as f64 / f64::from(1 << 20));
        format!("{first:.0} / {most:.0} / {last:.0} MiB")
    }
}
