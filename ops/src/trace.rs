//! The trace that a message belongs to, for logs.

/// The trace id of a `traceparent` (W3C Trace Context, `version-trace-parent-flags`): 32 hexadecimal digits. `None` without one,
/// and for what only looks like one.
#[must_use]
pub fn trace_id(traceparent: Option<&str>) -> Option<&str> {
    let id = traceparent?.split('-').nth(1)?;
    (id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_id_is_taken_from_a_whole_traceparent_only() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(trace_id(Some(&format!("00-{id}-00f067aa0ba902b7-01"))), Some(id));
        for other in [
            None,
            Some(""),
            Some("00-abc-00f067aa0ba902b7-01"),
            Some("00-4bf92f3577b34da6a3ce929d0e0e473x-0-01"),
        ] {
            assert_eq!(trace_id(other), None, "{other:?}");
        }
    }
}
