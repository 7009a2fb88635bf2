//! The embedded broker through real sockets: the same scenarios as against RabbitMQ, crashes, and bad bytes.

#![allow(clippy::unwrap_used, reason = "tests fail by panic")]

mod bytes_on_the_wire;
mod client;
mod crashes;
mod scenarios;
mod serving;

use roost_backend::embedded::{EmbeddedBroker, EmbeddedConfig};
use std::net::{Ipv4Addr, SocketAddr};

/// A broker on a free port, in memory unless `config` says otherwise.
async fn start(config: EmbeddedConfig) -> EmbeddedBroker {
    EmbeddedBroker::start(config).await.unwrap()
}

fn on_a_free_port() -> EmbeddedConfig {
    EmbeddedConfig { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), ..EmbeddedConfig::default() }
}

fn url(broker: &EmbeddedBroker) -> String {
    format!("amqp://guest:guest@{}/%2f", broker.address())
}

macro_rules! against_both {
    ($($scenario:ident),* $(,)?) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $scenario() {
                let data = tempfile::tempdir().unwrap();
                let config = super::EmbeddedConfig { data: Some(data.path().into()), ..super::on_a_free_port() };
                let broker = super::start(config).await;
                super::scenarios::$scenario(&super::url(&broker)).await;
                broker.shutdown(std::time::Duration::from_secs(10)).await;
            })*
        }

        #[cfg(feature = "live")]
        mod rabbitmq {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $scenario() {
                let url = std::env::var("ROOST_TEST_RABBITMQ").expect("tests/run sets ROOST_TEST_RABBITMQ");
                super::scenarios::$scenario(&url).await;
            })*
        }
    };
}

against_both!(
    a_published_message_is_confirmed_and_consumed,
    an_unroutable_mandatory_message_comes_back_before_its_ack,
    topics_route_by_their_patterns,
    a_single_active_consumer_hands_over,
    an_expired_message_is_dead_lettered,
    a_rejected_message_is_dead_lettered_with_its_history,
    a_requeued_message_keeps_its_place,
    a_full_queue_refuses_its_publisher,
    prefetch_holds_deliveries_back,
    an_exclusive_queue_is_locked_and_ends_with_its_connection,
    consumers_hear_that_their_queue_is_gone,
    wrong_requests_get_their_code,
    a_claimed_user_is_checked,
    a_message_of_many_frames_arrives_whole,
    a_quorum_queue_counts_deliveries,
    an_unused_queue_expires,
);
