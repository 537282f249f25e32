//! The same face as `leases` has, where there is no NATS.

use std::collections::HashMap;
use std::sync::Arc;

use super::runner::Runner;
use crate::error::{Error, Result};

/// Where an agent is.
#[derive(Clone, Debug)]
pub(crate) struct Lease {
    pub(crate) url: String,
    pub(crate) node: String,
}

/// There are none.
pub(crate) enum Leases {}

impl Leases {
    /// # Errors
    /// `ERR_ALKNET_CONFIG`.
    pub(crate) async fn connect(_servers: &[String]) -> Result<Arc<Self>> {
        let message = "a registry in NATS was asked for, and this program is built without it";
        Err(Error::config(message).hint("build it with the feature nats"))
    }

    pub(crate) async fn find(&self, _container: &str) -> Option<Lease> {
        match *self {}
    }

    pub(crate) async fn all(&self) -> HashMap<String, Lease> {
        match *self {}
    }

    pub(crate) async fn announce(&self, _runner: &Runner, _lease: &Lease) {
        match *self {}
    }

    pub(crate) async fn withdraw(&self, _runner: &Runner, _lease: &Lease) {
        match *self {}
    }
}
