//! One link of a consumer, from the connection to the end.

use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use futures_util::stream::{self, BoxStream, SelectAll};
use futures_util::{FutureExt, StreamExt};
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, BasicRejectOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Error, Event};
use roost_wire::LinkId;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};

use super::{ConsumePlan, ConsumeQueue, ConsumerEvent, Delivered, DeliveryToken, Desk, closed};
use crate::AmqpNode;
use crate::conversion::incoming;
use crate::ledger::{Answer, Ledger, Verdict};
use crate::shell::LinkConfig;
use crate::shell::declare::declare;
use crate::shell::down_reason::DownReason;
use crate::shell::link::Link;
use crate::shell::race::Heard;
use crate::shell::retry::{Retry, sleep_until};

/// How long the first answer waits for company.
const ANSWER_DELAY: Duration = Duration::from_millis(2);

/// A link that is connected, and on which the plan's topology is declared.
pub(super) struct Ready {
    pub(super) number: LinkId,
    link: Link,
    plan: ConsumePlan,
}

/// A link that consumes.
struct Served<'a> {
    plan: &'a ConsumePlan,
    link: LinkId,
    desk: &'a Desk,
    events: &'a mpsc::Sender<ConsumerEvent>,
}

/// What one queue's stream gives: a delivery, or `None` as the last thing.
struct Arrival {
    queue: usize,
    delivery: Option<Result<Delivery, Error>>,
}

impl Ready {
    /// Connects to a node, and declares. A failure tells of which link.
    pub(super) async fn at(
        config: &LinkConfig,
        node: &AmqpNode,
        heard: Heard,
        number: LinkId,
        plan: ConsumePlan,
    ) -> Result<Self, (LinkId, DownReason)> {
        let of_it = |reason| (number, reason);
        let link = Link::open(config, node, "consume", heard).await.map_err(of_it)?;
        match declare(&link, &plan.topology).await {
            Ok(()) => Ok(Self { number, link, plan }),
            Err(reason) => {
                link.end().await;
                Err(of_it(reason))
            }
        }
    }

    /// Consumes until the link is lost, with the reason; `None` if the consumer was closed.
    pub(super) async fn consume(
        self,
        desk: &Desk,
        events: &mpsc::Sender<ConsumerEvent>,
        retry: &mut Retry,
        close: &mut watch::Receiver<bool>,
    ) -> Option<DownReason> {
        let Self { number, link, plan } = self;
        let served = Served { plan: &plan, link: number, desk, events };
        let consumed = served.consume(&link, retry, close).await;
        link.end().await;
        consumed.err()
    }
}

impl Served<'_> {
    /// `Ok` if the consumer was closed.
    async fn consume(
        &self,
        link: &Link,
        retry: &mut Retry,
        close: &mut watch::Receiver<bool>,
    ) -> Result<(), DownReason> {
        let (channels, mut deliveries) = tokio::select! {
            prepared = self.prepare(link) => prepared?,
            () = closed(close) => return Ok(()),
        };
        retry.up();
        let mut notices = pin!(link.events());
        let mut event = Some(ConsumerEvent::Up { link: self.link });
        let mut answer_at = None;
        loop {
            match self.desk.books(|books| books.ledger.waiting()) {
                0 => answer_at = None,
                super::ANSWERS.. => {
                    self.answer(link, &channels).await?;
                    answer_at = None;
                }
                _ => drop(answer_at.get_or_insert_with(|| Instant::now() + ANSWER_DELAY)),
            }
            tokio::select! {
                permit = self.events.reserve(), if event.is_some() => match permit {
                    Ok(permit) => if let Some(event) = event.take() { permit.send(event) },
                    // Nobody reads: what was not answered goes back.
                    Err(_) => return Ok(()),
                },
                Some(arrival) = deliveries.next(), if event.is_none() => {
                    event = self.hand_on(arrival, &mut deliveries)?;
                }
                // Notifications only wake: what waits is in the books.
                () = self.desk.some.notified(), if answer_at.is_none() => {}
                () = self.desk.enough.notified() => {}
                () = sleep_until(answer_at), if answer_at.is_some() => self.answer(link, &channels).await?,
                Some(notice) = notices.next() => if let Event::Error(error) = notice {
                    return Err(DownReason::of("consuming", &error));
                },
                () = closed(close) => return self.answer(link, &channels).await,
                () = self.events.closed() => return Ok(()),
            }
        }
    }

    /// Consumes every queue on a channel of its own.
    async fn prepare(
        &self,
        link: &Link,
    ) -> Result<(Vec<Channel>, SelectAll<BoxStream<'static, Arrival>>), DownReason> {
        let ledger = Ledger::new(self.plan.queues.len());
        self.desk.books(|books| (books.link, books.ledger) = (self.link, ledger));
        let mut channels = Vec::new();
        let mut deliveries = SelectAll::new();
        for (queue, ConsumeQueue { name, prefetch }) in self.plan.queues.iter().enumerate() {
            let channel = link.channel().await?;
            let what = format!("consuming queue `{name}`");
            let name = ShortString::try_new(name.as_str())
                .map_err(|error| DownReason::Broken { what: what.clone(), text: error.to_string() })?;
            let consuming = async {
                channel.basic_qos((*prefetch).max(1), BasicQosOptions::default()).await?;
                let tag = ShortString::default();
                channel.basic_consume(name, tag, BasicConsumeOptions::default(), FieldTable::default()).await
            };
            let consumer = link.ask(&what, consuming).await?;
            let arrivals = consumer.map(move |delivery| Arrival { queue, delivery: Some(delivery) });
            let end = stream::once(async move { Arrival { queue, delivery: None } });
            deliveries.push(arrivals.chain(end).boxed());
            channels.push(channel);
        }
        Ok((channels, deliveries))
    }

    /// Hands on a delivery, and those that are there already: waking for each alone costs as much again. Gives back the one that
    /// the reader has no room for.
    fn hand_on(
        &self,
        first: Arrival,
        deliveries: &mut SelectAll<BoxStream<'static, Arrival>>,
    ) -> Result<Option<ConsumerEvent>, DownReason> {
        let mut arrival = Some(first);
        // Answers wait meanwhile, so it is as many as are answered at once.
        for _ in 0..super::ANSWERS {
            let Some(next) = arrival.take() else { return Ok(None) };
            let event = self.take(next)?;
            match self.events.try_send(event) {
                Ok(()) => arrival = deliveries.next().now_or_never().flatten(),
                Err(TrySendError::Full(event) | TrySendError::Closed(event)) => return Ok(Some(event)),
            }
        }
        arrival.map(|arrival| self.take(arrival)).transpose()
    }

    fn take(&self, Arrival { queue, delivery }: Arrival) -> Result<ConsumerEvent, DownReason> {
        let what = || format!("consuming queue `{}`", self.plan.queues[queue].name);
        let delivery = match delivery {
            Some(Ok(delivery)) => delivery,
            Some(Err(error)) => return Err(DownReason::of(&what(), &error)),
            None => {
                let text = "the broker cancelled it: the queue was deleted, or its node is gone".to_owned();
                return Err(DownReason::Closed { what: what(), text });
            }
        };
        let (tag, redelivered) = (delivery.delivery_tag, delivery.redelivered);
        let token = DeliveryToken { link: self.link, queue, tag };
        self.desk.books(|books| {
            books.ledger.delivered(queue, tag);
            books.delivered += 1;
            books.redelivered += u64::from(redelivered);
        });
        let Delivery { exchange, routing_key, properties, data, .. } = delivery;
        let message = incoming(exchange.as_str(), routing_key.as_str(), &properties, data.into());
        let delivered = Delivered { token, queue, redelivered, message };
        Ok(ConsumerEvent::Delivery(delivered))
    }

    async fn answer(&self, link: &Link, channels: &[Channel]) -> Result<(), DownReason> {
        let answers = self.desk.books(|books| books.ledger.take());
        let sending = join_all(answers.into_iter().map(|answer| send(&channels[answer.queue], answer)));
        let sent = sending.map(|sent| sent.into_iter().collect::<Result<(), Error>>());
        link.ask("acknowledging", sent).await
    }
}

async fn send(channel: &Channel, answer: Answer) -> Result<(), Error> {
    match answer.verdict {
        Verdict::Ack => channel.basic_ack(answer.tag, BasicAckOptions { multiple: false }).await,
        Verdict::AckUpTo => channel.basic_ack(answer.tag, BasicAckOptions { multiple: true }).await,
        Verdict::Reject { requeue } => channel.basic_reject(answer.tag, BasicRejectOptions { requeue }).await,
    }
}
