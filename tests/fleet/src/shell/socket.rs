//! A device's connection.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

use crate::{ProxyHeader, Tls, Transport};

/// How many ports are drawn for a connection from a given address: enough while three in four lead to the broker already.
const PORT_TRIES: u32 = 50;

/// Something that bytes go through both ways.
pub(super) trait Stream: AsyncRead + AsyncWrite {}

impl<T: AsyncRead + AsyncWrite> Stream for T {}

/// A connection, whatever it is made of.
pub(super) type Connection = Pin<Box<dyn Stream>>;

/// Makes connections; cheap to clone.
#[derive(Clone)]
pub(super) struct Connector {
    proxy_header: Option<ProxyHeader>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Connector {
    /// # Errors
    /// What is wrong with the certificates or the name.
    pub(super) fn new(transport: &Transport) -> Result<Self, String> {
        let tls = transport.tls.as_ref().map(tls).transpose()?;
        Ok(Self { proxy_header: transport.proxy_header, tls })
    }

    /// Connects from `source` if there is one.
    pub(super) async fn connect(self, broker: SocketAddr, source: Option<IpAddr>) -> io::Result<Connection> {
        let mut stream = tcp(broker, source).await?;
        if let Some(header) = self.proxy_header {
            stream.write_all(&header.bytes(stream.local_addr()?, broker)).await?;
        }
        match self.tls {
            Some((connector, name)) => Ok(Box::pin(connector.connect(name, stream).await?)),
            None => Ok(Box::pin(stream)),
        }
    }
}

async fn tcp(broker: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    for _ in 1..PORT_TRIES {
        match tcp_once(broker, source).await {
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {}
            done => return done,
        }
    }
    tcp_once(broker, source).await
}

async fn tcp_once(broker: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(broker), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    if let Some(source) = source {
        // Else each port is one device's alone, also a minute after its connection was closed. With it the system draws
        // one, and says so if that one already leads to this broker.
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    let stream = TcpSocket::from_std_stream(socket.into()).connect(broker).await?;
    // A device's packets are small, and their delay is what is measured.
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn tls(tls: &Tls) -> Result<(TlsConnector, ServerName<'static>), String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(tls.ca_pem.as_bytes()) {
        let certificate = certificate.map_err(|error| format!("--tls-ca: {error}"))?;
        roots.add(certificate).map_err(|error| format!("--tls-ca: {error}"))?;
    }
    if roots.is_empty() {
        return Err("--tls-ca: there is no certificate in the file".to_owned());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS: {error}"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(tls.server_name.clone())
        .map_err(|error| format!("--tls-name {}: {error}", tls.server_name))?;
    Ok((TlsConnector::from(Arc::new(config)), name))
}
