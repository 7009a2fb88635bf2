//! A device's connection.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::IpBindAddressNoPort;
use rustls::{CertificateError, ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::websocket::{Handshake, PacketStream};
use crate::{ProxyHeader, Tls, Transport};

/// Something that bytes go through both ways.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// A connection, whatever it is made of.
pub(super) type Connection = Pin<Box<dyn Stream>>;

/// Makes connections; cheap to clone.
#[derive(Clone)]
pub(super) struct Connector {
    proxy_header: Option<ProxyHeader>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    websocket: Option<Handshake>,
}

impl Connector {
    /// # Errors
    /// What is wrong with the certificates, the name or the path.
    pub(super) fn new(transport: &Transport) -> Result<Self, String> {
        let tls = transport.tls.as_ref().map(tls).transpose()?;
        let is_tls = tls.is_some();
        let websocket = transport.websocket.as_ref().map(|it| Handshake::new(it, is_tls)).transpose()?;
        Ok(Self { proxy_header: transport.proxy_header, tls, websocket })
    }

    /// Connects from `source` if there is one.
    pub(super) async fn connect(self, broker: SocketAddr, source: Option<IpAddr>) -> io::Result<Connection> {
        let mut stream = tcp(broker, source).await?;
        if let Some(header) = self.proxy_header {
            stream.write_all(&header.bytes(stream.local_addr()?, broker)).await?;
        }
        match (self.tls, self.websocket) {
            (None, None) => Ok(Box::pin(stream)),
            (None, Some(handshake)) => Ok(Box::pin(PacketStream::open(handshake, broker, stream).await?)),
            (Some((connector, name)), None) => Ok(Box::pin(greeted(connector, name, stream).await?)),
            (Some((connector, name)), Some(handshake)) => {
                // A box in a box, so that a plain connection's future is not as large as this one's.
                let stream = Box::new(greeted(connector, name, stream).await?);
                Ok(Box::pin(PacketStream::open(handshake, broker, stream).await?))
            }
        }
    }
}

/// The TLS handshake.
async fn greeted(
    connector: TlsConnector,
    name: ServerName<'static>,
    stream: TcpStream,
) -> io::Result<TlsStream<TcpStream>> {
    let shown = name.to_str().into_owned();
    connector.connect(name, stream).await.map_err(|error| untrusted(&shown, error))
}

/// What is wrong with a certificate, in the words of the command line; other errors as they are.
fn untrusted(name: &str, error: io::Error) -> io::Error {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(rustls::Error::InvalidCertificate(problem)) = inner else { return error };
    let text = match problem {
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("the broker's certificate is not for the name {name:?} (--tls-name)")
        }
        // The latter is an issuer of the same name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "the broker's certificate was not issued by anybody in --tls-ca".to_owned()
        }
        other => format!("the broker's certificate is not good: {other}"),
    };
    io::Error::new(io::ErrorKind::InvalidData, text)
}

async fn tcp(broker: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(broker), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    if let Some(source) = source {
        // The port is chosen at connect(), where one that leads to another broker, or whose connection ended a second ago, is good
        // (ip(7)). bind() would look for one that nobody has, for milliseconds once most are taken, while the process stands still.
        setsockopt(&socket, IpBindAddressNoPort, &true)?;
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
