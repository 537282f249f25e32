//! Transports: each turns a port into arrivals. Dialled legs come from `dial`.

pub(crate) mod tcp;
