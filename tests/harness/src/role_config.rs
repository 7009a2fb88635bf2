//! The configuration files of the roles: the one place where the tests know their shape.

use std::path::Path;

use crate::environment::threads;

/// What a gateway of the tests is told.
#[derive(Debug)]
pub(crate) struct GatewayConfig<'a> {
    pub(crate) name: &'a str,
    pub(crate) region: &'a str,
    pub(crate) amqp: &'a str,
    pub(crate) mqtt_port: u16,
    pub(crate) admin_port: u16,
}

impl GatewayConfig<'_> {
    pub(crate) fn yaml(&self) -> String {
        let Self { name, region, amqp, mqtt_port, admin_port } = self;
        let threads = threads_line(&threads());
        format!(
            "role: gateway\nid: {name}\nregion: {region}\namqp: {amqp:?}\nlisten: \"127.0.0.1:{mqtt_port}\"\nadmin: \"127.0.0.1:{admin_port}\"\n{threads}"
        )
    }
}

/// How many threads of a gateway serve devices: the key, and its line.
pub(crate) const THREADS_KEY: &str = "threads:";

pub(crate) fn threads_line(threads: &str) -> String {
    format!("{THREADS_KEY} {threads}\n")
}

pub(crate) fn router_yaml(amqp: &str, api_port: u16, data: &Path) -> String {
    format!(
        "role: router\namqp: {amqp:?}\nhttp: \"127.0.0.1:{api_port}\"\ndata: {:?}\n",
        data.display().to_string()
    )
}

pub(crate) fn backend_yaml(amqp_port: u16, admin_port: u16, data: &Path) -> String {
    format!(
        "role: backend\nlisten: \"127.0.0.1:{amqp_port}\"\nadmin: \"127.0.0.1:{admin_port}\"\ndata: {:?}\n",
        data.display().to_string()
    )
}
