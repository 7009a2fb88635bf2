//! The role of a router.

use roost_config::RouterSettings;

pub(crate) fn start(settings: &RouterSettings) -> anyhow::Result<()> {
    anyhow::bail!("router of shard {}: this build has no router yet", settings.shard)
}
