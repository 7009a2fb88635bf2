//! The role of a gateway: its file as the gateway takes it.

use std::num::NonZeroU16;
use std::path::Path;

use roost_config::{
    Acknowledge, AwayFull, GatewaySettings, OnTakeover, Order, SessionStore, SpoolSettings, UplinkSettings,
    WhenFull,
};
use roost_gateway::packet::{DecodeLimits, Text};
use roost_gateway::shell::{AuthenticationConfig, DrainReport, GatewayConfig, SpoolConfig, StoreConfig};
use roost_gateway::spool::SpoolLimits;
use roost_gateway::{Hints, Limits, UplinkOrder, UplinkRule, UplinkRules, WhenAwayFull, WillOnTakeover};

use super::collector;

/// The settings as the gateway takes them.
pub(crate) fn config(settings: &GatewaySettings) -> GatewayConfig {
    let GatewaySettings {
        id,
        region,
        data,
        listen,
        admin,
        amqp,
        threads,
        limits: from,
        uplink,
        answer_topic,
        response_information,
        mesh,
        sessions,
        drain,
        ..
    } = settings;
    let own = Limits::default();
    let limits = Limits {
        decode: DecodeLimits { packet_bytes_max: from.packet_bytes_max, ..own.decode },
        connections_max: from.connections_max,
        sessions_max: from.sessions_max,
        connect_timeout: from.connect_timeout,
        session_expiry_max: from.session_expiry_max,
        keep_alive_s_max: NonZeroU16::new(from.keep_alive_s_max),
        receive_maximum: NonZeroU16::new(from.receive_maximum).unwrap_or(own.receive_maximum),
        topic_alias_maximum: from.topic_alias_maximum,
        queue_messages_max: from.session_queue_messages_max,
        queue_bytes_max: from.session_queue_bytes_max,
        retained_messages_max: from.retained_messages_max,
        retained_bytes_max: from.retained_bytes_max,
        wills_bytes_max: from.wills_bytes_max,
        will_on_takeover: match settings.wills.on_takeover {
            OnTakeover::Discard => WillOnTakeover::Discard,
            OnTakeover::Publish => WillOnTakeover::Publish,
        },
        uplink_events_max: uplink.outstanding_max,
        when_spool_full: match settings.spool.when_full {
            WhenFull::Withhold => roost_gateway::spool::WhenFull::Withhold,
            WhenFull::Refuse => roost_gateway::spool::WhenFull::Refuse,
        },
        session_transfer: sessions.transfer,
        stalled_queue_factor: sessions.stalled_queue_factor,
        patience: sessions.patience,
        when_away_full: match sessions.when_away_full {
            AwayFull::DropNewest => WhenAwayFull::DropNewest,
            AwayFull::DropOldest => WhenAwayFull::DropOldest,
            AwayFull::Refuse => WhenAwayFull::Refuse,
        },
        settle_timeout: mesh.settle_timeout,
        ..own
    };
    GatewayConfig {
        authentication: AuthenticationConfig {
            anonymous: settings.authentication.anonymous,
            scram: settings.authentication.scram.clone(),
        },
        tracing: settings.tracing.as_ref().map(collector),
        heartbeat: mesh.heartbeat,
        lease: mesh.lease,
        shards: threads.count(),
        limits,
        uplink: rules(uplink),
        sys_interval: settings.sys_interval,
        broadcasts: settings.fanout.prefixes.clone(),
        spool: data.as_ref().map(|data| spool(data, &settings.spool, uplink)),
        store: data.as_ref().filter(|_| sessions.store == SessionStore::Disk).map(|data| store(data)),
        answers: answer_topic.clone(),
        hints: Hints {
            response_information: response_information.clone(),
            server_reference: drain.server_reference.as_deref().and_then(|text| Text::parse(text).ok()),
        },
        ..GatewayConfig::new(id.clone(), region.clone(), *listen, *admin, amqp.clone())
    }
}

fn spool(data: &Path, spool: &SpoolSettings, uplink: &UplinkSettings) -> SpoolConfig {
    let SpoolSettings { bytes_max, age_max, drain_per_s, when_full: _ } = *spool;
    let window_events = uplink.outstanding_max;
    let limits = SpoolLimits { bytes_max, age_max, drain_per_s, window_events, ..SpoolLimits::default() };
    SpoolConfig { directory: data.join("spool"), limits }
}

fn store(data: &Path) -> StoreConfig {
    StoreConfig { directory: data.join("sessions") }
}

fn rules(uplink: &UplinkSettings) -> UplinkRules {
    let kept = uplink.except.iter().map(|filter| UplinkRule::Keep { filter: filter.clone() });
    let carried = uplink.rules.iter().map(|rule| UplinkRule::Carry {
        filter: rule.filter.clone(),
        exchange: rule.exchange.clone(),
        acknowledge: match rule.acknowledge {
            Acknowledge::Confirmed => roost_gateway::Acknowledge::Confirmed,
            Acknowledge::Spooled => roost_gateway::Acknowledge::Spooled,
        },
        order: match rule.order {
            Order::Strict => UplinkOrder::Strict,
            Order::Fresh => UplinkOrder::Fresh,
        },
    });
    UplinkRules::new(kept.chain(carried).collect())
}

/// Says what a drain had to cut, if anything: an operator finds out from here why a device publishes again.
pub(crate) fn report(gateway: &str, cut: DrainReport) {
    match cut == DrainReport::default() {
        true => tracing::info!(gateway, "gateway drained"),
        false => tracing::warn!(
            gateway,
            connections_cut = cut.connections_cut,
            events_unconfirmed = cut.events_unconfirmed,
            reports_unconfirmed = cut.reports_unconfirmed,
            "the shutdown was cut short: devices publish again what was not confirmed"
        ),
    }
}

#[cfg(test)]
mod tests {
    use roost_config::Threads;

    use super::*;

    /// The files and the gateway have defaults of their own; they are the same.
    #[test]
    fn the_defaults_are_the_gateways_own() {
        let settings = GatewaySettings::new("eu-1".parse().unwrap(), "eu".parse().unwrap());
        let GatewaySettings { id, region, listen, admin, amqp, .. } = settings.clone();
        let shards = Threads::Auto.count();
        let own = GatewayConfig { shards, ..GatewayConfig::new(id, region, listen, admin, amqp) };
        assert_eq!(format!("{:#?}", config(&settings)), format!("{own:#?}"));
        let with_data = GatewaySettings { data: Some("/d".into()), ..settings };
        let own = SpoolConfig { directory: "/d/spool".into(), limits: SpoolLimits::default() };
        assert_eq!((config(&with_data).spool, config(&with_data).store), (Some(own), None));
        let mut on_disk = with_data;
        on_disk.sessions.store = SessionStore::Disk;
        assert_eq!(config(&on_disk).store, Some(StoreConfig { directory: "/d/sessions".into() }));
    }

    #[test]
    fn exceptions_stand_before_rules() {
        let mut settings = GatewaySettings::new("eu-1".parse().unwrap(), "eu".parse().unwrap());
        settings.uplink.except = vec!["a/b".parse().unwrap()];
        settings.uplink.rules[0].exchange = "mine".to_owned();
        let rules = config(&settings).uplink;
        let exchange = |topic| rules.carried(topic).map(|(exchange, ..)| exchange);
        assert_eq!((exchange("a/b"), exchange("a/c")), (None, Some("mine")));
    }
}
