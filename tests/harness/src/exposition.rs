//! A page of metrics, read as strictly as it is specified: Prometheus' text format, version 0.0.4.

use std::collections::BTreeMap;

/// One family of a page.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// Its name.
    pub name: String,
    /// What its HELP line says.
    pub help: String,
    /// What its TYPE line says.
    pub kind: String,
    /// Its samples, in their order.
    pub samples: Vec<Sample>,
}

/// One line with a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The series' name: the family's, or for a histogram that with `_bucket`, `_sum` or `_count`.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

impl Family {
    /// Reads a page.
    ///
    /// # Panics
    /// When something is not as the format wants it: a sample without HELP and TYPE before it, or a family that comes twice.
    pub fn parse(page: &str) -> Vec<Self> {
        let mut families: Vec<Self> = Vec::new();
        for line in page.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap_or_else(|| panic!("no help: {line}"));
                assert!(families.iter().all(|family| family.name != name), "{name} comes twice");
                let (name, help) = (name.to_owned(), help.to_owned());
                families.push(Self { name, help, kind: String::new(), samples: Vec::new() });
                continue;
            }
            let family = families.last_mut().unwrap_or_else(|| panic!("without HELP: {line}"));
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap_or_else(|| panic!("no type: {line}"));
                assert_eq!(name, family.name, "TYPE follows HELP");
                kind.clone_into(&mut family.kind);
                continue;
            }
            let sample = Sample::parse(line);
            let suffix =
                sample.name.strip_prefix(&family.name).unwrap_or_else(|| panic!("without HELP: {line}"));
            let suffixes: &[&str] =
                if family.kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            assert!(suffixes.contains(&suffix), "{line} in {} {}", family.kind, family.name);
            family.samples.push(sample);
        }
        families
    }

    /// The names of its labels, those that a histogram always has left out.
    pub fn label_names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.samples.iter().flat_map(|sample| sample.labels.keys().cloned()).collect();
        names.retain(|name| name != "le");
        names.sort();
        names.dedup();
        names
    }

    /// Whether any of its values is other than 0.
    pub fn is_set(&self) -> bool {
        self.samples.iter().any(|sample| sample.value != 0.0)
    }
}

impl Sample {
    fn parse(line: &str) -> Self {
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
        let value = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
        let (name, labels) = match series.split_once('{') {
            None => (series, BTreeMap::new()),
            Some((name, labels)) => {
                let labels = labels.strip_suffix('}').unwrap_or_else(|| panic!("no end of labels: {line}"));
                (name, labels.split(',').map(label).collect())
            }
        };
        Self { name: name.to_owned(), labels, value }
    }
}

/// No value in the mesh's pages has a comma or a quote in it: labels are enumerated.
fn label(text: &str) -> (String, String) {
    let (name, value) = text.split_once('=').unwrap_or_else(|| panic!("no label: {text}"));
    let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    (name.to_owned(), value.unwrap_or_else(|| panic!("no quotes: {text}")).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_families_with_their_labels_and_values() {
        let page = "# HELP a_total Things.\n# TYPE a_total counter\na_total{k=\"x\",l=\"1\"} 2\n\
            # HELP b_seconds Waits.\n# TYPE b_seconds histogram\nb_seconds_bucket{le=\"+Inf\"} 0\nb_seconds_sum 0\n";
        let families = Family::parse(page);
        assert_eq!(families.len(), 2);
        assert_eq!(
            (families[0].label_names(), families[0].is_set()),
            (vec!["k".to_owned(), "l".to_owned()], true)
        );
        assert_eq!((families[1].label_names(), families[1].is_set()), (vec![], false));
    }

    #[test]
    #[should_panic(expected = "without HELP")]
    fn a_sample_without_its_family_is_a_fault() {
        Family::parse("# HELP a A.\n# TYPE a gauge\nb 1\n");
    }
}
