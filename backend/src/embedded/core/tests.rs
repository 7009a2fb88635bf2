//! The rules of the virtual host, each shown without sockets.

mod closing;
mod declaring;
mod dying;
mod publishing;
mod random;
mod restoring;
mod settling;
mod world;
