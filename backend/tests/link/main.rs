//! The link against real brokers: what it promises when connections are cut, brokers fall silent, and topology is not as it
//! should be. Every scenario takes the address of a broker and runs against each that is there.

#![allow(clippy::unwrap_used, reason = "a scenario that cannot go on fails loudly")]

mod broadcasts;
mod broker;
mod consuming;
mod message;
mod proxy;
mod publishing;
mod topology;
mod trouble;

/// Makes a test of each scenario, against the broker whose address the expression gives.
macro_rules! scenarios {
    ($stage:expr; $($part:ident: $($name:ident),* $(,)?;)*) => {$($(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let stage = $stage;
            crate::$part::$name(&stage).await;
        }
    )*)*};
}

macro_rules! all_scenarios {
    ($stage:expr) => {
        scenarios! {
            $stage;
            publishing: what_is_confirmed_is_there_in_order_however_often_the_connection_is_cut,
                a_return_finds_its_message, a_full_queue_refuses_what_is_too_much,
                a_channel_on_which_messages_are_refused_is_replaced, closing_waits_for_the_confirms, closing_says_what_is_left, an_owner_that_reads_no_events_stops_the_intake_and_nothing_else;
            trouble: a_message_that_the_broker_closes_the_channel_for_is_refused_alone,
                what_amqp_cannot_carry_is_refused, a_silent_broker_is_left_and_the_message_published_again,
                a_broker_that_never_speaks_is_not_waited_for, where_nobody_listens_it_says_so_and_keeps_trying,
                of_several_nodes_one_that_answers_is_found, a_node_that_says_nothing_is_not_waited_for,
                a_wrong_password_is_a_reason_and_does_not_print, a_blocked_connection_waits_and_says_so,
                a_lost_message_is_reported_if_that_was_asked_for;
            topology: the_contract_is_declared_again_and_again, a_deleted_exchange_is_declared_again,
                a_deleted_queue_that_every_message_finds_is_declared_again,
                a_queue_that_is_otherwise_is_named, a_locked_queue_is_waited_for;
            consuming: every_answer_reaches_the_broker, what_was_not_answered_comes_again_after_a_cut,
                tokens_of_an_older_link_are_ignored, rejected_messages_go_back_or_away,
                no_more_is_delivered_than_prefetched, a_cancelled_consumer_comes_back_with_its_queue,
                one_router_at_a_time_is_the_active_consumer;
            broadcasts: the_oldest_broadcasts_make_room_and_are_counted;
            message: every_kind_of_header_arrives_as_it_was_sent;
        }
    };
}

/// The embedded broker, with its log on disk.
mod embedded {
    use roost_backend::embedded::{EmbeddedBroker, EmbeddedConfig};

    use crate::broker::Stage;

    /// A broker of one scenario's own; it stops when that is over.
    struct Own {
        stage: Stage,
        _broker: EmbeddedBroker,
        _data: tempfile::TempDir,
    }

    impl std::ops::Deref for Own {
        type Target = Stage;
        fn deref(&self) -> &Stage {
            &self.stage
        }
    }

    async fn own() -> Own {
        let data = tempfile::tempdir().unwrap();
        let config = EmbeddedConfig {
            listen: ([127, 0, 0, 1], 0).into(),
            data: Some(data.path().to_owned()),
            ..EmbeddedConfig::default()
        };
        let broker = EmbeddedBroker::start(config).await.unwrap();
        let stage = Stage::at(&format!("amqp://guest:guest@{}", broker.address()));
        Own { stage, _broker: broker, _data: data }
    }

    all_scenarios!(own().await);
}

/// A real RabbitMQ.
#[cfg(feature = "live")]
mod rabbitmq {
    use crate::broker::Stage;

    fn stage() -> Stage {
        let address = std::env::var("ROOST_TEST_RABBITMQ").expect(
            "the feature `live` is on, so ROOST_TEST_RABBITMQ must name a RabbitMQ: amqp://user:password@host:port/vhost",
        );
        Stage::at(&address)
    }

    all_scenarios!(stage());
}
