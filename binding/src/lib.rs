//! The addon: options in, handles out, and a doorbell that says which handle has news. No logic and no policy.

#![deny(unsafe_code)]

/// glibc gives a thread's freed packets back to the system and faults them in again: a third of a sender's processor time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod acme;
mod bell;
mod bus;
mod cli;
pub mod entry;
mod error;
mod forward;
mod limits;
mod options;
mod own_bus;
mod pending;
mod relay;
mod runtime;
mod server;
mod session;
mod stream;
mod tunnel;
