//! A broker of the tests' own: what it answers to each packet is the test's to say.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::BytesMut;
use roost_gateway::packet::{
    Connack, DecodeLimits, Decoder, Encoder, Packet, ProtocolVersion, ReasonCode, Suback,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What a broker answers to a packet.
pub(crate) trait Answers: Fn(&Packet) -> Vec<Packet> + Send + Sync + 'static {}

impl<F: Fn(&Packet) -> Vec<Packet> + Send + Sync + 'static> Answers for F {}

/// Serves until the test ends; it ends a connection whose CONNECT it has refused.
pub(crate) async fn broker(answers: impl Answers) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answers = Arc::new(answers);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(serve(socket, Arc::clone(&answers)));
        }
    });
    address
}

/// What any broker answers to what is no message.
pub(crate) fn politely(packet: &Packet) -> Vec<Packet> {
    match packet {
        Packet::Connect(_) => vec![Packet::Connack(Connack::default())],
        Packet::Subscribe(subscribe) => vec![Packet::Suback(Suback {
            packet_id: subscribe.packet_id,
            reasons: vec![ReasonCode::GrantedQos1; subscribe.filters.len()],
            properties: None,
        })],
        Packet::Pingreq => vec![Packet::Pingresp],
        _ => Vec::new(),
    }
}

async fn serve(mut socket: TcpStream, answers: Arc<impl Answers>) {
    let mut decoder = Decoder::for_server(DecodeLimits::default());
    let (mut read, mut written) = (BytesMut::new(), BytesMut::new());
    while socket.read_buf(&mut read).await.is_ok_and(|bytes| bytes > 0) {
        while let Some(packet) = decoder.decode(&mut read).unwrap() {
            let encoder = Encoder::new(decoder.version().unwrap_or(ProtocolVersion::V311));
            for answer in answers(&packet) {
                encoder.encode(&answer, &mut written).unwrap();
                let refuses = matches!(&answer, Packet::Connack(it) if it.reason != ReasonCode::Success);
                if refuses {
                    let _ = socket.write_all(&written).await;
                    return;
                }
            }
        }
        if socket.write_all(&written.split()).await.is_err() {
            return;
        }
    }
}
