//! Forwarders in the background: processes that outlive who started them. Knows `client` and `server`, nothing of the command line.
//!
//! A worker lives if and only if it holds its lock file: that is the whole truth, and the kernel keeps it. The state file only says
//! what a worker is for; no process id in it is ever signalled (docs/cli.md, "In the background").

mod conversation;
mod forwarders;
mod holder;
mod launch;
mod lock;
mod log;
mod place;
mod record;
mod worker;

pub(crate) use forwarders::{Condition, Forwarders, Standing, Start};
pub(crate) use launch::{Job, Launch, read_job};
pub(crate) use place::Place;
pub(crate) use record::{Record, Wanted};
pub(crate) use worker::{Worker, detach, leave_session, refused};
