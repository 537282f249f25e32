//! The addon: options in, handles out, and a doorbell that says which handle has news. No logic and no policy.

#![deny(unsafe_code)]

mod bell;
mod error;
mod options;
mod pending;
mod runtime;
mod server;
mod session;
mod stream;
