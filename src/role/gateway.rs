//! The role of a gateway.

use roost_config::GatewaySettings;

pub(crate) fn start(settings: &GatewaySettings) -> anyhow::Result<()> {
    anyhow::bail!("gateway {}: this build has no gateway yet", settings.id)
}
