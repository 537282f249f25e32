//! Who may come in: connections that have not logged in are counted, in all and by source.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Semaphore;

/// Counts connections that have not logged in, in all and by source.
#[derive(Debug)]
pub(crate) struct Gate {
    all: Arc<Semaphore>,
    per_source: usize,
    sources: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Gate {
    pub(crate) fn new(all: usize, per_source: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(all)), per_source, sources: Arc::default() }
    }

    /// A place for one more connection, given back when dropped.
    pub(crate) fn enter(&self, remote: Option<SocketAddr>) -> Option<Box<dyn Send + Sync>> {
        let place = Arc::clone(&self.all).try_acquire_owned().ok()?;
        let Some(source) = remote.map(|address| source_of(address.ip())) else {
            return Some(Box::new(place));
        };
        let mut sources = self.sources.lock();
        let count = sources.entry(source).or_default();
        if *count >= self.per_source {
            return None;
        }
        *count += 1;
        Some(Box::new((place, Leave { sources: Arc::clone(&self.sources), source })))
    }
}

struct Leave {
    sources: Arc<Mutex<HashMap<IpAddr, usize>>>,
    source: IpAddr,
}

impl Drop for Leave {
    fn drop(&mut self) {
        let mut sources = self.sources.lock();
        if let Some(count) = sources.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                sources.remove(&self.source);
            }
        }
    }
}

/// One IPv6 subscriber has a /64, so that is one source.
fn source_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(u128::from(v6) & !u128::from(u64::MAX))),
        v4 => v4,
    }
}
