//! A bare MQTT 3.1.1 client: it does as little as a client can, so that what a run costs is the broker's.

use std::net::Ipv4Addr;

use anyhow::{Context, bail, ensure};
use bytes::{Bytes, BytesMut};
use roost_gateway::packet::{
    Ack, Connect, ConnectProperties, DecodeLimits, Decoder, Delivery, Encoder, Packet, PacketId,
    ProtocolVersion, PublishPropertiesRef, PublishRef, QoS, ReasonCode, Subscribe, SubscribeFilter,
    SubscribeOptions, Text,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

const VERSION: ProtocolVersion = ProtocolVersion::V311;
const READ_BYTES: usize = 64 * 1024;

/// A connection that is accepted.
pub(super) struct Client {
    stream: TcpStream,
    decoder: Decoder,
    input: BytesMut,
    output: BytesMut,
    next_id: PacketId,
}

impl Client {
    /// A clean session, without a keep alive.
    pub(super) async fn connect(port: u16, id: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.context("connecting")?;
        Self::over(stream, id).await
    }

    /// One for which the system keeps few bytes that it has not read.
    pub(super) async fn with_receive_buffer(port: u16, id: &str, bytes: u32) -> anyhow::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(bytes)?;
        let stream = socket.connect((Ipv4Addr::LOCALHOST, port).into()).await.context("connecting")?;
        Self::over(stream, id).await
    }

    async fn over(stream: TcpStream, id: &str) -> anyhow::Result<Self> {
        stream.set_nodelay(true)?;
        let decoder = Decoder::for_client(VERSION, DecodeLimits::default());
        let (input, output, next_id) = (BytesMut::new(), BytesMut::new(), PacketId::FIRST);
        let mut client = Self { stream, decoder, input, output, next_id };
        client.put(&Packet::Connect(Box::new(Connect {
            version: VERSION,
            clean_start: true,
            keep_alive_s: 0,
            client_id: Text::parse(id.to_owned())?,
            will: None,
            user_name: None,
            password: None,
            properties: ConnectProperties::default(),
        })))?;
        match client.answer().await? {
            Packet::Connack(connack) if connack.reason == ReasonCode::Success => Ok(client),
            other => bail!("CONNECT of {id} was answered with {other:?}"),
        }
    }

    pub(super) async fn subscribe(&mut self, filter: &str) -> anyhow::Result<()> {
        let options = SubscribeOptions { qos: QoS::AtLeastOnce, ..SubscribeOptions::default() };
        let filters = vec![SubscribeFilter { filter: Text::parse(filter.to_owned())?, options }];
        let subscribe = Subscribe { packet_id: PacketId::FIRST, filters, properties: None };
        self.put(&Packet::Subscribe(subscribe))?;
        match self.answer().await? {
            Packet::Suback(suback) => {
                ensure!(!suback.reasons.iter().any(|reason| reason.is_error()), "{suback:?}")
            }
            other => bail!("SUBSCRIBE was answered with {other:?}"),
        }
        Ok(())
    }

    /// Ends it well, and waits until the broker has closed.
    pub(super) async fn disconnect(mut self) -> anyhow::Result<()> {
        self.output.extend_from_slice(&[0xE0, 0]);
        self.flush().await?;
        while self.stream.read_buf(&mut self.input).await? > 0 {
            self.input.clear();
        }
        Ok(())
    }

    /// Puts a publish at QoS 1 behind what is to be written.
    pub(super) fn publish(&mut self, topic: &str, payload: Bytes) -> anyhow::Result<()> {
        let delivery = Delivery::AtLeastOnce { packet_id: self.next_id, dup: false };
        self.next_id = self.next_id.next();
        let publish = PublishRef {
            topic,
            delivery,
            retain: false,
            payload: &payload,
            properties: PublishPropertiesRef::default(),
        };
        Encoder::new(VERSION).encode_publish(&publish, &mut self.output)?;
        Ok(())
    }

    /// Puts a PUBACK behind what is to be written.
    pub(super) fn acknowledge(&mut self, packet_id: PacketId) -> anyhow::Result<()> {
        self.put(&Packet::Puback(Ack::success(packet_id)))
    }

    /// Writes what was put.
    pub(super) async fn flush(&mut self) -> anyhow::Result<()> {
        self.stream.write_all_buf(&mut self.output).await.context("writing")
    }

    /// Waits for bytes, and takes every packet that is whole by then; none if there is not one yet.
    ///
    /// # Errors
    /// The broker has closed, or sends what is no packet.
    pub(super) async fn read(&mut self, packets: &mut Vec<Packet>) -> anyhow::Result<()> {
        self.input.reserve(READ_BYTES);
        ensure!(self.stream.read_buf(&mut self.input).await? > 0, "the broker has closed the connection");
        while let Some(packet) = self.decoder.decode(&mut self.input)? {
            packets.push(packet);
        }
        Ok(())
    }

    fn put(&mut self, packet: &Packet) -> anyhow::Result<()> {
        Ok(Encoder::new(VERSION).encode(packet, &mut self.output)?)
    }

    async fn answer(&mut self) -> anyhow::Result<Packet> {
        self.flush().await?;
        let mut packets = Vec::new();
        while packets.is_empty() {
            self.read(&mut packets).await?;
        }
        ensure!(packets.len() == 1, "more than the answer: {packets:?}");
        Ok(packets.remove(0))
    }
}
