//! Dialling: from a host and a port to a byte stream. Knows sockets, not SSH.

mod direct;

pub(crate) use direct::{Direct, prepare};
