//! An embedded broker by itself, to try a client against: `embedded_broker [ADDRESS [DATA-DIRECTORY]]`.
//! It prints its address and runs until it is killed.

use roost_backend::embedded::{EmbeddedBroker, EmbeddedConfig};
use std::net::{Ipv4Addr, SocketAddr};

#[tokio::main]
#[expect(clippy::print_stdout, reason = "a program that tells its address")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let listen = match arguments.next() {
        Some(address) => address.parse()?,
        None => SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
    };
    let data = arguments.next().map(Into::into);
    let broker = EmbeddedBroker::start(EmbeddedConfig { listen, data, ..EmbeddedConfig::default() }).await?;
    println!("{}", broker.address());
    std::future::pending().await
}
