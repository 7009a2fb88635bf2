//! A gateway's link to the broker, which can be cut, stalled or late.

use roost_fleet::shell::Wan;
use roost_harness::Federation;

/// Before the start: one gateway reaches the broker through a link, the others as before.
pub(crate) async fn behind_a_link(federation: Federation, gateway: &str) -> (Federation, Wan) {
    let mut found = None;
    let link = async |name: &str, broker: &str| {
        if name != gateway {
            return broker.to_owned();
        }
        let (link, through) = Wan::before(&broker.parse().expect("a good address")).await.expect("a port");
        found = Some(link);
        through.with_password()
    };
    let federation = federation.with_links(link).await;
    (federation, found.expect("there is a gateway of that name"))
}
