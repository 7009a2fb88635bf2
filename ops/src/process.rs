//! What every process tells about itself.

use std::sync::OnceLock;

use roost_wire::WallTime;
use rustix::time::{ClockId, clock_gettime};

use crate::{Exposition, MetricKind, Readiness, now};

/// The families that every role has beside its own. `role` is a label: `gateway`, `router` or `backend`.
pub(crate) fn write(role: &'static str, readiness: &Readiness, page: &mut Exposition) {
    let help = "The build that runs here; always 1.";
    let version = env!("CARGO_PKG_VERSION");
    page.family("roost_build_info", MetricKind::Gauge, help)
        .sample(&[("role", role), ("version", version)], 1);
    let help = "Whether the role waits for nothing; /readyz says what for.";
    page.family("roost_ready", MetricKind::Gauge, help).sample(&[], u8::from(readiness.waits().is_empty()));
    let help = "When the process first served this page, in seconds since 1970.";
    page.family("roost_process_start_time_seconds", MetricKind::Gauge, help)
        .sample(&[], first_served().as_millis() as f64 / 1e3);
    let help = "CPU time that the process has used, all roles in it together.";
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    page.family("roost_process_cpu_seconds_total", MetricKind::Counter, help)
        .sample(&[], cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9);
    // Without /proc (another system) there is no figure, rather than a wrong one.
    if let Some(bytes) = resident_bytes() {
        let help = "Memory that the process has in use, all roles in it together.";
        page.family("roost_process_resident_memory_bytes", MetricKind::Gauge, help).sample(&[], bytes);
    }
}

/// Noted when the endpoints are made, which is when the role starts.
pub(crate) fn first_served() -> WallTime {
    static STARTED: OnceLock<WallTime> = OnceLock::new();
    *STARTED.get_or_init(|| now().wall)
}

fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_has_memory_a_start_and_a_build() {
        assert!(resident_bytes().is_some_and(|bytes| bytes > 100_000));
        let mut page = Exposition::default();
        let readiness = Readiness::default();
        readiness.not_ready("amqp", "connecting");
        write("router", &readiness, &mut page);
        let page = page.finish();
        assert!(page.contains("roost_build_info{role=\"router\",version=\""), "{page}");
        assert!(page.contains("\nroost_ready 0\n"), "{page}");
    }
}
