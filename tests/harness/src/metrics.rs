//! The counters a process tells at `/metrics`.

use crate::api::Api;

/// One reading of all counters.
#[derive(Clone, Debug)]
pub struct Metrics {
    lines: Vec<(String, f64)>,
}

impl Metrics {
    /// Reads them.
    ///
    /// # Panics
    /// When they cannot be had.
    pub async fn of(api: &Api) -> Self {
        let answer =
            api.get("/metrics").await.unwrap_or_else(|error| panic!("{}/metrics: {error}", api.url()));
        let text =
            answer.body.as_str().unwrap_or_else(|| panic!("{}/metrics is no text: {answer:?}", api.url()));
        Self::parse(text)
    }

    /// The sum of the counters of that name whose labels contain all of `labels`, each written `name="value"`.
    /// Nothing counted yet is 0.
    pub fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let wanted = |series: &str| {
            let (found, rest) = series.split_once('{').unwrap_or((series, ""));
            found == name && labels.iter().all(|label| rest.contains(label))
        };
        self.lines.iter().filter(|(series, _)| wanted(series)).map(|(_, value)| value).sum()
    }

    fn parse(text: &str) -> Self {
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let pairs = samples.filter_map(|line| line.rsplit_once(' '));
        Self {
            lines: pairs
                .filter_map(|(series, value)| Some((series.to_owned(), value.parse().ok()?)))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_the_series_that_match() {
        let text = "# HELP a_total x\n# TYPE a_total counter\na_total{k=\"x\",l=\"1\"} 2\na_total{k=\"y\"} 3\nab_total 9\n";
        let metrics = Metrics::parse(text);
        assert_eq!(metrics.sum("a_total", &[]), 5.0);
        assert_eq!(metrics.sum("a_total", &["k=\"x\"", "l=\"1\""]), 2.0);
        assert_eq!(metrics.sum("nothing_total", &[]), 0.0);
    }
}
