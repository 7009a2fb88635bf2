//! Who depends on whom, and who may name which library: read from the manifests.

use std::collections::BTreeMap;
use std::path::Path;

/// A room, and what its manifest may name beyond what every room may.
const ALLOWED: [(&str, &[&str]); 9] = [
    ("wire", &[]),
    ("ops", &["roost-wire", "axum", "opentelemetry", "opentelemetry-otlp", "opentelemetry_sdk"]),
    ("backend", &["roost-wire", "roost-ops", "lapin", "amq-protocol"]),
    ("log", &["roost-ops"]),
    ("gateway", &["roost-wire", "roost-ops", "roost-log", "roost-backend", "axum"]),
    ("router", &["roost-wire", "roost-ops", "roost-log", "roost-backend", "axum"]),
    ("tests/fleet", &["roost-wire", "roost-backend", "roost-gateway"]),
    (
        "config",
        &["roost-wire", "roost-backend", "roost-gateway", "roost-router", "roost-fleet", "serde-saphyr"],
    ),
    (
        ".",
        &[
            "roost-wire",
            "roost-ops",
            "roost-backend",
            "roost-gateway",
            "roost-router",
            "roost-config",
            "roost-fleet",
            "axum",
            "clap",
            "anyhow",
            "reqwest",
        ],
    ),
];

/// What only the rooms above may name: a library that shapes the code around it.
const GUARDED: [&str; 20] = [
    "roost-wire",
    "roost-ops",
    "roost-log",
    "roost-backend",
    "roost-gateway",
    "roost-router",
    "roost-config",
    "roost-fleet",
    "roost-harness",
    "lapin",
    "amq-protocol",
    "axum",
    "opentelemetry",
    "opentelemetry-otlp",
    "opentelemetry_sdk",
    "serde-saphyr",
    "clap",
    "anyhow",
    "reqwest",
    "rumqttc",
];

/// The dependencies (not those of tests) that a manifest names.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut section = "";
    let mut found = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
        } else if section == "[dependencies]" && !line.starts_with('#') {
            let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
            found.extend((!name.is_empty()).then(|| name.to_owned()));
        }
    }
    found
}

fn forbidden(allowed: &[&str], manifest: &str) -> Vec<String> {
    let guarded = |name: &String| GUARDED.contains(&name.as_str()) && !allowed.contains(&name.as_str());
    dependencies(manifest).into_iter().filter(guarded).collect()
}

#[test]
fn each_room_names_only_what_is_its_own() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeMap::new();
    for (room, allowed) in ALLOWED {
        let manifest = std::fs::read_to_string(root.join(room).join("Cargo.toml")).unwrap();
        let wrong = forbidden(allowed, &manifest);
        if !wrong.is_empty() {
            found.insert(room, wrong);
        }
    }
    assert!(found.is_empty(), "rooms that name what is not theirs: {found:?}");
}

#[test]
fn a_planted_dependency_is_found() {
    let manifest =
        "[dependencies]\nlapin.workspace = true\nbytes.workspace = true\n[dev-dependencies]\naxum = \"1\"\n";
    assert_eq!(forbidden(&["axum"], manifest), ["lapin"]);
}
