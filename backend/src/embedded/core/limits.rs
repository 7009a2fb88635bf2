//! Every bound of the broker, with what happens when it is reached.

/// The bounds of one broker. All are inclusive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open connections. One more is closed with 530 NOT_ALLOWED after its handshake.
    pub connections_max: usize,
    /// Connections that have not finished their handshake. The listener waits before it accepts one more.
    pub handshakes_max: usize,
    /// Channels of one connection, told in `connection.tune`. One more is a 504 CHANNEL_ERROR.
    pub channels_max: u16,
    /// Bytes of one frame, told in `connection.tune`. A larger one is a 501 FRAME_ERROR.
    pub frame_bytes_max: u32,
    /// Bytes of one message's body. A larger one is a 406 PRECONDITION_FAILED on its channel, before it is read.
    pub message_bytes_max: u64,
    /// Bytes of message bodies that one connection has announced and not yet completed, over all its channels.
    /// Beyond it the connection is closed with 506 RESOURCE_ERROR.
    pub assembling_bytes_max: u64,
    /// Bytes of unfinished messages of all connections together. The connection that passes it is closed with
    /// 506 RESOURCE_ERROR.
    pub assembling_total_bytes_max: u64,
    /// Exchanges. One more is a 406 PRECONDITION_FAILED.
    pub exchanges_max: usize,
    /// Queues. One more is a 406 PRECONDITION_FAILED.
    pub queues_max: usize,
    /// Bindings over all exchanges. One more is a 406 PRECONDITION_FAILED.
    pub bindings_max: usize,
    /// Consumers of one channel. One more is a 406 PRECONDITION_FAILED.
    pub consumers_per_channel_max: usize,
    /// Deliveries of one channel that wait for their acknowledgement. A channel at it gets no more, as if its
    /// prefetch were this.
    pub unacknowledged_per_channel_max: usize,
    /// Bytes of all messages in all queues, each counted in each queue, with [`MESSAGE_OVERHEAD_BYTES`] apiece.
    /// Above it publishers are blocked (`connection.blocked`, and their sockets are no longer read) until it has
    /// fallen to seven eighths. What was read before that is still taken.
    pub memory_bytes_max: u64,
    /// Bytes of deliveries that wait to be written to one connection. A connection above it is not delivered to
    /// until it has read; one message larger than the window goes out alone.
    pub outgoing_bytes_max: usize,
    /// Bytes of answers that wait to be written to one connection. Above it its requests are not read.
    pub answers_bytes_max: usize,
    /// Bytes of log records that wait for the disk. Above it publishers are blocked.
    pub log_pending_bytes_max: usize,
    /// Bytes of one log segment; the record that passes it is its last.
    pub segment_bytes: u64,
    /// The heartbeat that is proposed, in seconds. The client decides.
    pub heartbeat_s: u16,
    /// Milliseconds a connection may take for its handshake; then it is cut.
    pub handshake_timeout_ms: u64,
}

/// What a message costs beside its body and headers: properties, names, its entry in the queue and in the log's index, and
/// what the allocator loses. Measured: 100,000 messages of 256 bytes took 1.2 kB each.
pub const MESSAGE_OVERHEAD_BYTES: u64 = 1024;

/// What a delivery counts in the outgoing window beside its body: about its method and header frames.
pub const DELIVERY_OVERHEAD_BYTES: usize = 256;

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 1024, // a development or single-node backend; services keep few connections
            handshakes_max: 128,
            channels_max: 2047,          // RabbitMQ's default, so that clients meet the same
            frame_bytes_max: 131_072,    // RabbitMQ's default
            message_bytes_max: 16 << 20, // 64 times the largest MQTT packet by default
            assembling_bytes_max: 32 << 20,
            assembling_total_bytes_max: 256 << 20,
            exchanges_max: 10_000,
            queues_max: 50_000,
            bindings_max: 200_000,
            consumers_per_channel_max: 1024,
            unacknowledged_per_channel_max: 100_000,
            memory_bytes_max: 512 << 20,
            outgoing_bytes_max: 1 << 20,
            answers_bytes_max: 4 << 20,
            log_pending_bytes_max: 64 << 20,
            segment_bytes: 32 << 20,
            heartbeat_s: 60, // RabbitMQ's default
            handshake_timeout_ms: 10_000,
        }
    }
}
