//! `tracing`: where OpenTelemetry spans go.

use roost_wire::SampleRatio;

use crate::document::Node;
use crate::section::Section;
use crate::value::text;

/// `tracing`: which spans are made, and where they go. Without `otlp` none are made.
#[derive(Debug, Clone, PartialEq)]
pub struct TracingSettings {
    /// `otlp`: the collector's OTLP/HTTP address, to which `/v1/traces` is added.
    pub otlp: String,
    /// `sample`: of the traces that begin here, the share that is recorded. One that comes in is recorded if its sender says so.
    pub sample: SampleRatio,
}

/// 0.01: one in a hundred shows what is usual, and costs a hundredth.
pub const SAMPLE: f64 = 0.01;

impl TracingSettings {
    pub(crate) fn read(mut s: Section<'_>) -> Option<Self> {
        let default = SampleRatio::new(SAMPLE).expect("the constant is from 0 to 1");
        let otlp = s.optional("otlp", collector);
        let sample = s.or("sample", default, share);
        s.finish();
        otlp.map(|otlp| Self { otlp, sample })
    }
}

/// `http://HOST[:PORT][/PATH]`.
fn collector(node: &Node) -> Result<String, String> {
    let text = text(node)?;
    collector_address(&text)
}

/// Checks the address of a collector.
///
/// # Errors
/// What is wrong with it, and what to write instead.
pub fn collector_address(text: &str) -> Result<String, String> {
    const EXAMPLE: &str = "for example http://127.0.0.1:4318";
    if text.starts_with("https://") {
        return Err(format!(
            "{text:?}: spans are sent without TLS; run a collector beside this process that forwards them, {EXAMPLE}"
        ));
    }
    let rest =
        text.strip_prefix("http://").ok_or_else(|| format!("{text:?} is not http://HOST:PORT, {EXAMPLE}"))?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        Some(_) | None => (host, None),
    };
    let is_host = !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte))
        && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    if !is_host {
        return Err(format!("{text:?} is not http://HOST:PORT, {EXAMPLE}"));
    }
    if path.trim_end_matches('/').ends_with("v1/traces") {
        return Err(format!("{text:?}: /v1/traces is added; leave it out"));
    }
    Ok(text.to_owned())
}

/// A number from 0 to 1.
fn share(node: &Node) -> Result<SampleRatio, String> {
    let number = match node {
        Node::Float(number) => *number,
        Node::Int(number) => *number as f64,
        Node::Text(_) | Node::Bool(_) | Node::Null | Node::List(_) | Node::Map(_) => {
            return Err(format!("expected a number from 0 to 1, found {}", node.kind()));
        }
    };
    SampleRatio::new(number).ok_or_else(|| format!("{number} is not from 0 to 1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_address_that_spans_can_be_sent_to_is_taken() {
        for good in ["http://127.0.0.1:4318", "http://[::1]:4318/", "http://[::1]", "http://otel.example/a/b"]
        {
            assert_eq!(collector_address(good).as_deref(), Ok(good));
        }
        for wrong in [
            "",
            "127.0.0.1:4318",
            "http://",
            "http://:4318",
            "http://a:0",
            "http://a:x",
            "http://a b",
            "https://a",
            "http://a/v1/traces",
            "grpc://a",
            "http://user@a",
        ] {
            assert!(collector_address(wrong).is_err(), "{wrong}");
        }
    }
}
