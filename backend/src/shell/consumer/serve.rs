//! One link of a consumer, from the connection to the end.

use std::pin::pin;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{self, BoxStream, SelectAll};
use futures_util::{FutureExt, StreamExt};
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, BasicRejectOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Error, Event};
use roost_wire::LinkId;
use tokio::sync::{mpsc, watch};

use super::{Books, ConsumePlan, ConsumerEvent, Delivered, DeliveryToken, Desk, closed};
use crate::ledger::{Answer, Ledger, Verdict};
use crate::shell::LinkConfig;
use crate::shell::convert::incoming;
use crate::shell::declare::declare;
use crate::shell::link::{Link, Trouble, within};
use crate::shell::retry::Retry;

/// How long the first answer waits for company.
const ANSWER_DELAY: Duration = Duration::from_millis(2);

/// One attempt at a link.
pub(super) struct Attempt<'a> {
    pub(super) config: &'a LinkConfig,
    pub(super) plan: &'a ConsumePlan,
    pub(super) link: LinkId,
    pub(super) desk: &'a Desk,
    pub(super) events: &'a mpsc::Sender<ConsumerEvent>,
}

/// All queues' deliveries; each queue's stream ends with `None`.
type Deliveries<'a> = SelectAll<BoxStream<'a, (usize, Option<Result<Delivery, Error>>)>>;

impl Attempt<'_> {
    /// Connects and consumes until the link is lost, with the reason; `None` if the consumer was closed.
    pub(super) async fn carry_out(
        &self,
        retry: &mut Retry,
        close: &mut watch::Receiver<bool>,
    ) -> Option<Trouble> {
        let link = tokio::select! {
            link = Link::open(self.config, "consume") => match link {
                Ok(link) => link,
                Err(trouble) => return Some(trouble),
            },
            () = closed(close) => return None,
        };
        let consumed = self.consume(&link, retry, close).await;
        link.end().await;
        consumed.err()
    }

    /// `Ok` if the consumer was closed.
    async fn consume(
        &self,
        link: &Link,
        retry: &mut Retry,
        close: &mut watch::Receiver<bool>,
    ) -> Result<(), Trouble> {
        let (channels, mut deliveries) = tokio::select! {
            prepared = self.prepare(link) => prepared?,
            () = closed(close) => return Ok(()),
        };
        retry.up();
        let mut notices = pin!(link.events());
        let mut event = Some(ConsumerEvent::Up { link: self.link });
        loop {
            tokio::select! {
                permit = self.events.reserve(), if event.is_some() => match permit {
                    Ok(permit) => if let Some(event) = event.take() { permit.send(event) },
                    // Nobody reads: what was not answered goes back.
                    Err(_) => return Ok(()),
                },
                Some((queue, delivery)) = deliveries.next(), if event.is_none() => {
                    event = self.take(queue, delivery)?;
                }
                () = self.answers_wait() => self.answer(&channels).await?,
                Some(notice) = notices.next() => if let Event::Error(error) = notice {
                    return Err(Trouble::new("consuming", &error));
                },
                () = closed(close) => return self.answer(&channels).await,
            }
        }
    }

    /// Declares, and consumes every queue on a channel of its own.
    async fn prepare<'b>(&self, link: &Link) -> Result<(Vec<Channel>, Deliveries<'b>), Trouble> {
        let timeout = self.config.timeout;
        declare(link, &self.plan.topology, timeout).await?;
        let ledger = Ledger::new(self.plan.queues.len());
        self.desk.books(|books| *books = Books { link: self.link, ledger });
        let mut channels = Vec::new();
        let mut deliveries = Deliveries::new();
        for (index, queue) in self.plan.queues.iter().enumerate() {
            let channel = link.channel().await?;
            let what = format!("consuming queue `{}`", queue.name);
            let name = ShortString::try_new(queue.name.as_str())
                .map_err(|error| Trouble::Broken { what: what.clone(), text: error.to_string() })?;
            let consuming = async {
                channel.basic_qos(queue.prefetch.max(1), BasicQosOptions::default()).await?;
                let tag = ShortString::default();
                channel.basic_consume(name, tag, BasicConsumeOptions::default(), FieldTable::default()).await
            };
            let consumer = within(timeout, &what, consuming).await?;
            let ended = stream::once(async move { (index, None) });
            deliveries.push(consumer.map(move |delivery| (index, Some(delivery))).chain(ended).boxed());
            channels.push(channel);
        }
        Ok((channels, deliveries))
    }

    fn take(
        &self,
        queue: usize,
        delivery: Option<Result<Delivery, Error>>,
    ) -> Result<Option<ConsumerEvent>, Trouble> {
        let what = || format!("consuming queue `{}`", self.plan.queues[queue].name);
        let delivery = match delivery {
            Some(Ok(delivery)) => delivery,
            Some(Err(error)) => return Err(Trouble::new(&what(), &error)),
            None => {
                let text = "the broker cancelled it: the queue was deleted, or its node is gone".to_owned();
                return Err(Trouble::Broken { what: what(), text });
            }
        };
        let (tag, redelivered) = (delivery.delivery_tag, delivery.redelivered);
        let token = DeliveryToken { link: self.link, queue, tag };
        self.desk.books(|books| books.ledger.delivered(queue, tag));
        let delivered = Delivered { token, queue, redelivered, message: incoming(delivery) };
        Ok(Some(ConsumerEvent::Delivery(delivered)))
    }

    /// Ends when it is time to send answers. Nothing is forgotten if it is dropped: what waits is in the books.
    async fn answers_wait(&self) {
        match self.desk.books(|books| books.ledger.waiting()) {
            0 => self.desk.some.notified().await,
            super::ANSWERS.. => return,
            _ => {}
        }
        // A notification may be an old one; then no answer waits, and sending none costs nothing.
        let _ = tokio::time::timeout(ANSWER_DELAY, self.desk.enough.notified()).await;
    }

    async fn answer(&self, channels: &[Channel]) -> Result<(), Trouble> {
        let answers = self.desk.books(|books| books.ledger.take());
        let sending = join_all(answers.into_iter().map(|answer| send(&channels[answer.queue], answer)));
        let sent = sending.map(|sent| sent.into_iter().collect::<Result<(), Error>>());
        within(self.config.timeout, "acknowledging", sent).await
    }
}

async fn send(channel: &Channel, answer: Answer) -> Result<(), Error> {
    match answer.verdict {
        Verdict::Ack => channel.basic_ack(answer.tag, BasicAckOptions { multiple: false }).await,
        Verdict::AckUpTo => channel.basic_ack(answer.tag, BasicAckOptions { multiple: true }).await,
        Verdict::Reject { requeue } => channel.basic_reject(answer.tag, BasicRejectOptions { requeue }).await,
    }
}
