//! Buffers for what leaves: a connection has one only while something waits for its socket.

use bytes::BytesMut;

/// How many wait for their next use, of at most some 32 KiB each: 4 MiB.
const BUFFERS: usize = 128;
const BYTES_MAX: usize = 16 * 1024;

/// Buffers that no connection has, the last one used on top.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    spare: Vec<BytesMut>,
}

impl Buffers {
    /// One that was used before, if there is one.
    pub(super) fn take(&mut self) -> BytesMut {
        self.spare.pop().unwrap_or_default()
    }

    /// An empty one is not needed any more. At most `used` bytes were written into it at once: one that has grown is let go.
    pub(super) fn give_back(&mut self, buffer: BytesMut, used: usize) {
        if used <= BYTES_MAX && self.spare.len() < BUFFERS {
            self.spare.push(buffer);
        }
    }
}
