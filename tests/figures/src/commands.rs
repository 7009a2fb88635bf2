//! Commands of a service that sends many at once.

use anyhow::{bail, ensure};
use roost_backend::shell::{
    LinkConfig, OnLoss, Publish, Published, PublisherConfig, PublisherEvent, publisher,
};
use roost_backend::{AmqpAddress, Topology};
use roost_wire::CommandRequest;

/// Where commands go.
const DOWN: &str = "roost.down";

/// The command `message_id` for a device of the default tenant. Its payload is its own name.
pub(crate) fn command(device: &str, message_id: &str) -> anyhow::Result<CommandRequest> {
    Ok(CommandRequest::new(device.parse()?, message_id.parse()?, message_id.to_owned().into_bytes().into()))
}

/// Publishes all of them, in their order; how many the broker has confirmed, which is all.
///
/// # Errors
/// One that was not.
pub(crate) async fn send(uri: &str, commands: Vec<CommandRequest>) -> anyhow::Result<u64> {
    let address: AmqpAddress = uri.parse()?;
    let link = LinkConfig::new(address, "roost-figures");
    let (publisher, mut outcomes) = publisher(link, Topology::contract(1), PublisherConfig::default());
    let many = commands.len() as u64;
    let publishing = async {
        for (token, command) in (0..).zip(commands) {
            let message = command.into_message(DOWN);
            let publish = Publish { message, mandatory: true, on_loss: OnLoss::PublishAgain, token };
            publisher.publish(publish).await?;
        }
        anyhow::Ok(())
    };
    let confirming = async {
        let mut confirmed = 0;
        while confirmed < many {
            match outcomes.recv().await {
                Some(PublisherEvent::Done { outcome: Published::Confirmed, .. }) => confirmed += 1,
                Some(PublisherEvent::Done { token, outcome }) => bail!("command {token}: {outcome:?}"),
                Some(PublisherEvent::Down { reason }) => bail!("{uri}: {reason}"),
                Some(PublisherEvent::Up | PublisherEvent::Blocked { .. } | PublisherEvent::Unblocked) => {}
                None => bail!("the publisher has ended"),
            }
        }
        Ok(confirmed)
    };
    let (published, confirmed) = tokio::join!(publishing, confirming);
    published?;
    let confirmed = confirmed?;
    let left = publisher.close(std::time::Duration::ZERO).await;
    ensure!(left.tokens.is_empty(), "{} commands have no answer", left.tokens.len());
    Ok(confirmed)
}
