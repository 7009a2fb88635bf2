//! The role of a router: its file as the router takes it.

use std::time::Duration;

use roost_config::RouterSettings;
use roost_router::Limits;
use roost_router::shell::{DrainReport, RouterConfig};

use super::collector;

/// How much longer than a gateway the router waits for a settlement: the way back.
const SETTLE_WAY: Duration = Duration::from_secs(5);

/// The settings as the router takes them.
pub(crate) fn config(settings: &RouterSettings) -> RouterConfig {
    let RouterSettings { shard, data, http, amqp, mailbox, tenant, lifetime, .. } = settings;
    let limits = Limits {
        lease: settings.lease,
        lease_margin: settings.margin,
        settle_timeout: settings.settle_timeout + SETTLE_WAY,
        outstanding_per_device_max: settings.outstanding_per_device_max,
        mailbox_commands_max: mailbox.commands_max,
        mailbox_bytes_max: mailbox.bytes_max,
        tenant_commands_max: tenant.commands_max,
        tenant_bytes_max: tenant.bytes_max,
        lifetime: lifetime.default,
        lifetime_max: lifetime.max,
        absent_remembered: settings.absent_remembered,
        ..Limits::default()
    };
    let tracing = settings.tracing.as_ref().map(collector);
    RouterConfig { limits, tracing, ..RouterConfig::new(*shard, data.clone(), *http, amqp.clone()) }
}

/// Says what a drain had to cut, if anything. Nothing is lost by it: the next run resumes from the journal.
pub(crate) fn report(cut: DrainReport) {
    match cut == DrainReport::default() {
        true => tracing::info!("router drained"),
        false => tracing::warn!(
            records_cut = cut.records_cut,
            publications_unconfirmed = cut.publications_unconfirmed,
            "the shutdown was cut short: the next run resumes from the journal"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The files and the router have defaults of their own; they are the same.
    #[test]
    fn the_defaults_are_the_routers_own() {
        let settings = RouterSettings::new("/d".into());
        let RouterSettings { shard, data, http, amqp, .. } = settings.clone();
        let own = RouterConfig::new(shard, data, http, amqp);
        assert_eq!(format!("{:#?}", config(&settings)), format!("{own:#?}"));
    }
}
