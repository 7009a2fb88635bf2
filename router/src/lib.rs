//! The router: where each device is, and custody of every command until it is settled.
