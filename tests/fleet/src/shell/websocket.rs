//! MQTT over WebSocket (MQTT 5, section 6): a byte stream whose writes are binary frames.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;
use tokio_tungstenite::tungstenite::http::Uri;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::WebSocket;

/// Each connection keeps such a buffer: a device gets small packets, and a larger one comes in several reads.
const READ_BUFFER_BYTES: usize = 1_024;
/// The largest frame that is written: brokers have bounds for frames that are lower than those for packets.
const FRAME_WRITTEN_BYTES_MAX: usize = 64 * 1024;
/// What an unread socket lets pile up: a frame that waits, and answers to pings.
const WRITE_BUFFER_BYTES_MAX: usize = 4 * FRAME_WRITTEN_BYTES_MAX;
/// The largest frame that is taken; a broker may put many packets into one.
const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How a connection becomes a WebSocket.
#[derive(Debug, Clone)]
pub(super) struct Handshake {
    scheme: &'static str,
    host: String,
    path: String,
}

impl Handshake {
    /// # Errors
    /// That the path is none.
    pub(super) fn new(websocket: &WebSocket, is_tls: bool) -> Result<Self, String> {
        let scheme = if is_tls { "wss" } else { "ws" };
        let handshake = Self { scheme, host: websocket.host.clone(), path: websocket.path.clone() };
        let error = || format!("--websocket {}: expected a path such as /mqtt", websocket.path);
        match websocket.path.starts_with('/') && handshake.uri(1).is_some() {
            true => Ok(handshake),
            false => Err(error()),
        }
    }

    fn uri(&self, port: u16) -> Option<Uri> {
        format!("{}://{}:{port}{}", self.scheme, self.host, self.path).parse().ok()
    }
}

/// The bytes of MQTT packets, in frames of a WebSocket over `S`. A packet may begin in one frame and end in another.
/// [MQTT-6.0.0-2]
pub(super) struct PacketStream<S> {
    frames: WebSocketStream<S>,
    /// What is left of the last frame.
    unread: Bytes,
    /// Some of what was written is not on its way yet.
    unflushed: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> PacketStream<S> {
    /// Makes a WebSocket of a connection, with the subprotocol `mqtt`; a server that does not choose it is refused.
    /// [MQTT-6.0.0-3]
    pub(super) async fn open(handshake: Handshake, broker: SocketAddr, stream: S) -> io::Result<Self> {
        let uri = handshake.uri(broker.port()).expect("it was one when the connector was made");
        let request = ClientRequestBuilder::new(uri).with_sub_protocol("mqtt");
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
            .max_frame_size(Some(FRAME_BYTES_MAX))
            .max_message_size(Some(FRAME_BYTES_MAX));
        let opened = client_async_with_config(request, stream, Some(config)).await;
        let (frames, _) = opened.map_err(said)?;
        Ok(Self { frames, unread: Bytes::new(), unflushed: false })
    }

    fn flush_rest(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match Pin::new(&mut self.frames).poll_flush(cx) {
            Poll::Pending => self.unflushed = true,
            Poll::Ready(flushed) => {
                self.unflushed = false;
                flushed.map_err(said)?;
            }
        }
        Ok(())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for PacketStream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.unflushed {
            // Nobody else asks again: to the writer it is written.
            this.flush_rest(cx)?;
        }
        while this.unread.is_empty() {
            match ready!(Pin::new(&mut this.frames).poll_next(cx)) {
                None => return Poll::Ready(Ok(())),
                Some(Ok(Message::Binary(bytes))) => this.unread = bytes,
                Some(Ok(Message::Text(_))) => {
                    let text = "the broker sent a text frame, which MQTT has none of [MQTT-6.0.0-1]";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, text)));
                }
                // Answered by the library.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_))) => {}
                Some(Err(error)) => return Poll::Ready(Err(said(error))),
            }
        }
        let many = this.unread.len().min(buf.remaining());
        buf.put_slice(&this.unread[..many]);
        this.unread.advance(many);
        if this.unread.is_empty() {
            this.unread = Bytes::new(); // or it would hold on to the frame
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for PacketStream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.frames).poll_ready(cx)).map_err(said)?;
        let some = &buf[..buf.len().min(FRAME_WRITTEN_BYTES_MAX)];
        let frame = Message::Binary(Bytes::copy_from_slice(some));
        Pin::new(&mut this.frames).start_send(frame).map_err(said)?;
        this.flush_rest(cx)?;
        Poll::Ready(Ok(some.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().frames).poll_flush(cx).map_err(said)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().frames).poll_close(cx).map_err(said)
    }
}

/// An error of the library as one of a stream: what the broker answered to the request is in its text.
fn said(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        other => io::Error::new(io::ErrorKind::InvalidData, format!("WebSocket: {other}")),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use tokio::io::AsyncWriteExt;
    use tokio_tungstenite::accept_hdr_async;
    use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

    use super::*;

    #[tokio::test]
    async fn many_large_packets_written_at_once_go_in_several_frames() {
        const BYTES: usize = 3 * 1024 * 1024;
        let (near, far) = tokio::io::duplex(16 * 1024);
        let broker = tokio::spawn(async move {
            #[expect(clippy::result_large_err, reason = "the library's own type")]
            let choose = |_: &Request, mut response: Response| {
                let name = "sec-websocket-protocol";
                response.headers_mut().insert(name, "mqtt".parse().expect("a header's value"));
                Ok(response)
            };
            let mut frames = accept_hdr_async(far, choose).await.unwrap();
            let mut lengths = Vec::new();
            while lengths.iter().sum::<usize>() < BYTES {
                lengths.push(frames.next().await.unwrap().unwrap().into_data().len());
            }
            lengths
        });
        let websocket = WebSocket { path: "/mqtt".to_owned(), host: "broker.test".to_owned() };
        let handshake = Handshake::new(&websocket, false).unwrap();
        let broker_at = "127.0.0.1:1".parse().unwrap();
        let mut stream = PacketStream::open(handshake, broker_at, near).await.unwrap();
        stream.write_all(&vec![7; BYTES]).await.unwrap();
        stream.flush().await.unwrap();
        let lengths = broker.await.unwrap();
        assert_eq!(lengths.iter().sum::<usize>(), BYTES);
        assert!(lengths.iter().all(|bytes| *bytes <= FRAME_WRITTEN_BYTES_MAX));
    }

    #[test]
    fn a_path_that_is_none_is_refused_before_the_run() {
        let made = |path: &str| {
            Handshake::new(&WebSocket { path: path.to_owned(), host: "::1".to_owned() }, true).is_ok()
        };
        assert_eq!([made("mqtt"), made("/a b"), made("")], [false; 3]);
        let made = |host: &str| {
            Handshake::new(&WebSocket { path: "/mqtt".to_owned(), host: host.to_owned() }, false)
        };
        assert!(made("127.0.0.1").is_ok() && made("[::1]").is_ok() && made("broker.test").is_ok());
    }
}
