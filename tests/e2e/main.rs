//! End to end: the binary as its users run it, real clients at both ends, real sockets between.
