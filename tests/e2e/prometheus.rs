//! The Prometheus and Grafana files: a real Prometheus takes them, and everything they ask for is there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use roost_harness::{PATIENCE, Prometheus, eventually, promtool};
use serde_json::Value;

use crate::busy::Busy;

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.as_ref().display()))
}

fn rule_files() -> [PathBuf; 2] {
    ["recording.yml", "alerts.yml"].map(|name| root("config/prometheus").join(name))
}

/// The queries of all panels, each with where it stands, for a scrape each second and with every variable at "All".
fn panel_queries() -> Vec<(String, String)> {
    let mut queries = Vec::new();
    for file in std::fs::read_dir(root("config/grafana")).expect("there are dashboards") {
        let file = file.expect("a directory can be listed").path();
        let dashboard: Value =
            serde_json::from_str(&read(&file)).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let name = dashboard["title"].as_str().expect("a dashboard has a title");
        for panel in dashboard["panels"].as_array().expect("a dashboard has panels") {
            for target in panel["targets"].as_array().expect("a panel has targets") {
                let query = target["expr"].as_str().expect("a target has a query");
                let query = query.replace("$__rate_interval", "10s");
                let query = ["$region", "$gateway", "$instance", "$job"]
                    .iter()
                    .fold(query, |query, variable| query.replace(variable, ".*"));
                assert!(!query.contains('$'), "{name}: an unknown variable: {query}");
                queries.push((format!("{name}: {}", panel["title"]), query));
            }
        }
    }
    assert!(queries.len() > 60, "only {} queries found", queries.len());
    queries
}

/// The words that are metrics, ours or recorded.
fn metrics(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
    words.filter(|word| word.starts_with("roost_") || word.contains(":roost_")).map(str::to_owned).collect()
}

/// What recording rules make.
fn recorded(rules: &str) -> BTreeSet<String> {
    rules.lines().filter_map(|line| line.trim().strip_prefix("- record: ")).map(str::to_owned).collect()
}

/// What rules and panels ask for that neither a role nor a rule gives.
fn unknown(exported: &BTreeSet<String>, asked: impl IntoIterator<Item = String>) -> Vec<String> {
    let is_known = |metric: &String| {
        let plain = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| metric.strip_suffix(suffix));
        exported.contains(metric) || plain.is_some_and(|plain| exported.contains(plain))
    };
    asked.into_iter().filter(|metric| !is_known(metric)).collect()
}

#[tokio::test]
async fn promtool_finds_nothing_wrong() {
    let checks: [&[&str]; 2] =
        [&["check", "config", "prometheus.yml"], &["check", "rules", "recording.yml", "alerts.yml"]];
    for arguments in checks {
        let ended = promtool(&root("config/prometheus"), arguments).await;
        assert!(ended.status.success(), "promtool {arguments:?}: {}", ended.output);
    }
}

#[test]
fn every_alert_names_a_runbook_that_is_there() {
    let alerts = read(root("config/prometheus/alerts.yml"));
    let named: Vec<&str> = alerts.lines().filter_map(|line| line.trim().strip_prefix("runbook: ")).collect();
    assert_eq!(named.len(), alerts.matches("- alert: ").count(), "each alert has one");
    for page in named {
        assert!(root(page).is_file(), "{page} is not there");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_and_rule_finds_its_metrics_in_a_running_mesh() {
    let busy = Busy::start().await;
    let pages = busy.pages().await;
    let mut known: BTreeSet<String> =
        pages.iter().flat_map(|(_, page)| page).map(|family| family.name.clone()).collect();
    let rules: String = rule_files().map(read).concat();
    known.extend(recorded(&rules));
    let queries = panel_queries();
    let asked = queries.iter().map(|(_, query)| query.as_str()).chain([rules.as_str()]).flat_map(metrics);
    let unknown = unknown(&known, asked);
    assert!(unknown.is_empty(), "nobody gives {unknown:?}");

    let prometheus = Prometheus::start(&scraping(&busy), &rule_files()).await;
    for (panel, query) in queries {
        // A panel that leaves zeros out may be empty: what it is made of may not.
        let query = query.replace(" > 0", "");
        eventually(&format!("{panel} shows something"), PATIENCE, async || {
            match prometheus.query(&query).await? {
                series if series.is_empty() => Err(format!("{query}: nothing")),
                _ => Ok(()),
            }
        })
        .await;
    }
    for rule in recorded(&rules) {
        eventually(&format!("{rule} is recorded"), PATIENCE, async || {
            match prometheus.query(&rule).await? {
                series if series.is_empty() => Err("nothing".to_owned()),
                _ => Ok(()),
            }
        })
        .await;
    }
    let firing =
        prometheus.query("ALERTS{alertstate=\"firing\", severity=\"page\"}").await.expect("it answers");
    assert!(firing.is_empty(), "a mesh that is well wakes nobody: {firing:?}");
}

/// The example, for this mesh's ports and a scrape each second.
fn scraping(busy: &Busy) -> String {
    let example = read(root("config/prometheus/prometheus.yml"));
    let targets = [
        ("127.0.0.1:8080", busy.mesh.api()),
        ("127.0.0.1:8081", busy.mesh.admin("eu-1")),
        ("127.0.0.1:8082", busy.mesh.admin("us-1")),
        ("127.0.0.1:8083", busy.mesh.admin_backend()),
    ];
    let mut config = example.replace("_interval: 15s", "_interval: 1s");
    for (standard, api) in targets {
        assert!(config.contains(standard), "the example scrapes {standard}");
        config = config.replace(standard, api.url().trim_start_matches("http://"));
    }
    config
}

#[test]
fn a_planted_metric_that_nobody_gives_is_found() {
    let known = BTreeSet::from(["roost_a_total".to_owned(), "roost_b_seconds".to_owned()]);
    let asked = metrics("rate(roost_a_total[1m]) + roost_b_seconds_count + roost_c > link:roost_d:p99");
    assert_eq!(unknown(&known, asked), ["link:roost_d:p99", "roost_c"]);
}
