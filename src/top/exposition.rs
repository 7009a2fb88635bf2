//! What a role's `/metrics` says, read back.

use std::collections::BTreeMap;

/// The series of one page, summed over their labels: a view of a terminal's width has no room for more.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Exposition {
    sums: BTreeMap<String, f64>,
    /// What `roost_build_info` says it is.
    pub(crate) role: Option<String>,
}

impl Exposition {
    /// Reads the text format of Prometheus, as far as sums need it; a line that is nothing of the kind is left out.
    pub(crate) fn parse(text: &str) -> Self {
        let mut page = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let Ok(value) = value.parse::<f64>() else { continue };
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            if name == "roost_build_info" {
                page.role = label(labels, "role").map(str::to_owned);
            }
            *page.sums.entry(name.to_owned()).or_default() += value;
        }
        page
    }

    /// The sum over all labels; `None` if there is no such series.
    pub(crate) fn sum(&self, name: &str) -> Option<f64> {
        self.sums.get(name).copied()
    }
}

/// A label's value, of those whose values need no escaping: roles are such.
fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    let (_, behind) = labels.split_once(&format!("{name}=\""))?;
    behind.split_once('"').map(|(value, _)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_summed_over_their_labels() {
        let text = "# HELP roost_x_total What.\n# TYPE roost_x_total counter\nroost_x_total{reason=\"a b\"} 2\n\
            roost_x_total{reason=\"c\"} 3.5\nroost_y 7\nroost_build_info{role=\"gateway\",version=\"0.1.0\"} 1\nnonsense\n";
        let page = Exposition::parse(text);
        assert_eq!(
            (page.sum("roost_x_total"), page.sum("roost_y"), page.sum("roost_z")),
            (Some(5.5), Some(7.0), None)
        );
        assert_eq!(page.role.as_deref(), Some("gateway"));
    }
}
