//! Who may come in, decided before a byte is read: connections that have not logged in are counted, in all and by source; sessions
//! are, in all and by key. A place is an object, given back when dropped, however its connection ended.
//!
//! A lock guards the counts, and nothing awaits under it. Time is handed in where it decides.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::Limits;
use super::pattern::Sources;
use super::penalty::PenaltyBox;
use super::place::Place;
use super::source::Source;
use crate::error::{Error, Result};
use crate::io::Ends;

/// What rates are counted over.
const SECOND: Duration = Duration::from_secs(1);

/// Sources watched at once. Those with nothing to count are forgotten each second, so that only a flood from as many networks
/// gets here.
const MOST_SOURCES: usize = 65_536;

/// Of a hundred arrivals, how many are refused once the early drop begins (MaxStartups, sshd_config(5)).
const EARLY_DROP: u64 = 30;

/// See the module.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(super) limits: Limits,
    exempt: Option<Sources>,
    pub(super) state: Mutex<State>,
}

#[derive(Debug)]
pub(super) struct State {
    /// Not logged in: those known by their address, and those known by a key, which costs nothing to make.
    waiting: [usize; 2],
    pub(super) sessions: usize,
    /// By the fingerprint of the key.
    pub(super) keys: HashMap<String, usize>,
    pub(super) sources: HashMap<Source, Visits>,
    pub(super) penalties: Option<PenaltyBox>,
    swept: Instant,
}

/// What is known of one source.
#[derive(Debug)]
pub(super) struct Visits {
    /// Not logged in.
    waiting: usize,
    /// Logged in.
    pub(super) members: usize,
    /// When the second began that the next three are about.
    pub(super) since: Instant,
    pub(super) begun: u32,
    pub(super) lines: u32,
    refusal_told: bool,
}

impl Gate {
    /// # Errors
    /// `ERR_ALKNET_CONFIG` when an exempt entry is no address.
    pub(crate) fn new(limits: &Limits) -> Result<Arc<Self>> {
        Ok(Arc::new(Self {
            limits: limits.clone(),
            exempt: exempt(&limits.exempt)?,
            state: Mutex::new(State {
                waiting: [0; 2],
                sessions: 0,
                keys: HashMap::new(),
                sources: HashMap::new(),
                penalties: limits.penalties.map(PenaltyBox::new),
                swept: Instant::now(),
            }),
        }))
    }

    /// A place for one more connection; `None` when it must be closed at once, which is logged once per source and second.
    pub(crate) fn enter(self: &Arc<Self>, ends: &Ends) -> Option<Place> {
        let is_exempt = |ip: IpAddr| self.exempt.as_ref().is_some_and(|exempt| exempt.allow(ip));
        let is_bound = ends.endpoint.is_some() || !ends.remote.is_some_and(|at| is_exempt(at.ip()));
        let source = Source::of(ends).filter(|_| is_bound);
        let now = Instant::now();
        let mut state = self.state.lock();
        match self.decide(&mut state, source, now, fastrand::u64(..100)) {
            Ok(()) => {
                drop(state);
                let gate = Arc::clone(self);
                let remote = ends.remote.map(|remote| remote.ip().to_canonical());
                Some(Place::new(gate, source, remote, now))
            }
            Err(reason) => {
                let told = source
                    .and_then(|source| state.sources.get_mut(&source))
                    .is_some_and(|visits| std::mem::replace(&mut visits.refusal_told, true));
                drop(state);
                if !told {
                    let remote_addr = shown(source, ends.remote.map(|at| at.ip().to_canonical()));
                    let endpoint = source.and_then(Source::endpoint).map(tracing::field::display);
                    tracing::info!(%remote_addr, reason, endpoint, "connection refused");
                }
                None
            }
        }
    }

    fn decide(
        &self,
        state: &mut State,
        source: Option<Source>,
        now: Instant,
        chance: u64,
    ) -> Result<(), &'static str> {
        let limits = &self.limits;
        state.sweep(now);
        if let Some(source) = source {
            if !state.sources.contains_key(&source) && state.sources.len() >= MOST_SOURCES {
                return Err("too many sources at once");
            }
            let is_out = state.penalties.as_mut().is_some_and(|jail| jail.is_out(source, now));
            let visits = state.sources.entry(source).or_insert_with(|| Visits::new(now));
            visits.turn(now);
            if is_out {
                return Err("penalty for what this source did before");
            }
            if visits.waiting + visits.members >= limits.max_connections_per_source {
                return Err("too many connections of this source");
            }
            if visits.waiting >= limits.max_unauthenticated_per_source {
                return Err("too many connections of this source that have not logged in");
            }
            if visits.begun >= limits.max_handshakes_per_source {
                return Err("too many new connections of this source in one second");
            }
        }
        let waiting = &mut state.waiting[kind(source)];
        if *waiting >= limits.max_unauthenticated {
            return Err("too many connections that have not logged in");
        }
        if drops_early(*waiting, limits.early_drop, limits.max_unauthenticated, chance) {
            return Err("many connections that have not logged in, one refused by chance");
        }
        *waiting += 1;
        if let Some(visits) = source.and_then(|source| state.sources.get_mut(&source)) {
            visits.waiting += 1;
            visits.begun += 1;
        }
        Ok(())
    }
}

impl State {
    /// Forgets sources of which nothing is counted, once a second.
    fn sweep(&mut self, now: Instant) {
        if now.saturating_duration_since(self.swept) >= SECOND {
            self.swept = now;
            let is_of_use = |visits: &Visits| {
                visits.waiting + visits.members > 0
                    || now.saturating_duration_since(visits.since) < SECOND
            };
            self.sources.retain(|_, visits| is_of_use(visits));
        }
    }
}

impl State {
    pub(super) fn release(&mut self, source: Option<Source>) {
        self.waiting[kind(source)] -= 1;
        if let Some(visits) = source.and_then(|source| self.sources.get_mut(&source)) {
            visits.waiting -= 1;
        }
    }
}

/// Among whom a source is counted.
fn kind(source: Option<Source>) -> usize {
    usize::from(source.and_then(Source::endpoint).is_some())
}

impl Visits {
    fn new(now: Instant) -> Self {
        Self { waiting: 0, members: 0, since: now, begun: 0, lines: 0, refusal_told: false }
    }

    pub(super) fn turn(&mut self, now: Instant) {
        if now.saturating_duration_since(self.since) >= SECOND {
            *self = Self { waiting: self.waiting, members: self.members, ..Self::new(now) };
        }
    }
}

/// From `start` on, a share of the arrivals (`chance` is 0 to 99) that grows from [`EARLY_DROP`] to all at `full`.
fn drops_early(waiting: usize, start: usize, full: usize, chance: u64) -> bool {
    if waiting < start || start >= full {
        return false;
    }
    let (above, width) = ((waiting - start) as u64, (full - start) as u64);
    chance < EARLY_DROP + (100 - EARLY_DROP) * above / width
}

/// Whom a log line is about: of an endpoint the address at which it is, if it has one.
pub(super) fn shown(source: Option<Source>, remote: Option<IpAddr>) -> String {
    match source {
        Some(Source::Network(network)) => network.to_string(),
        _ => remote.map(|ip| ip.to_string()).unwrap_or_default(),
    }
}

/// Addresses, networks and patterns of addresses, as in `from="…"`; none when the list is empty.
fn exempt(list: &[String]) -> Result<Option<Sources>> {
    let is_address =
        |entry: &str| entry.bytes().all(|b| b.is_ascii_hexdigit() || b".:/*?".contains(&b));
    if let Some(entry) = list.iter().find(|entry| entry.is_empty() || !is_address(entry)) {
        return Err(Error::config(format!("limits.exempt: {entry:?} is no address or network")));
    }
    if list.is_empty() {
        return Ok(None);
    }
    let wrong = |_| Error::config(format!("limits.exempt: {list:?} has an impossible network"));
    Sources::parse(&list.join(",")).map(Some).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::auth::{Offence, Penalties};
    use crate::io::EndpointId;

    fn gate(limits: &Limits) -> Arc<Gate> {
        Gate::new(limits).unwrap()
    }

    fn from(remote: SocketAddr) -> Ends {
        Ends { remote: Some(remote), ..Ends::default() }
    }

    fn at(last: u8) -> Ends {
        from(SocketAddr::from(([192, 0, 2, last], 1)))
    }

    fn limits() -> Limits {
        Limits { max_unauthenticated_per_source: 2, ..Limits::default() }
    }

    #[test]
    fn one_source_has_so_many_places_and_gets_them_back() {
        let gate = gate(&limits());
        let (first, _second) = (gate.enter(&at(1)).unwrap(), gate.enter(&at(1)).unwrap());
        assert!(gate.enter(&at(1)).is_none());
        assert!(gate.enter(&at(2)).is_some());
        drop(first);
        assert!(gate.enter(&at(1)).is_some());
    }

    #[test]
    fn connections_of_one_source_are_counted_logged_in_or_not() {
        let gate = gate(&Limits { max_connections_per_source: 2, ..Limits::default() });
        let one = gate.enter(&at(1)).unwrap().log_in("a").unwrap();
        let _two = gate.enter(&at(1)).unwrap();
        gate.state.lock().sweep(Instant::now() + SECOND * 2);
        assert!(gate.enter(&at(1)).is_none());
        assert!(gate.enter(&at(2)).is_some());
        drop(one);
        assert!(gate.enter(&at(1)).is_some());
    }

    #[test]
    fn a_network_of_64_bits_is_one_source() {
        let gate = gate(&limits());
        let v6 = |text: &str| from(SocketAddr::new(text.parse().unwrap(), 1));
        let _two =
            (gate.enter(&v6("2001:db8::1")).unwrap(), gate.enter(&v6("2001:db8::2")).unwrap());
        assert!(gate.enter(&v6("2001:db8::3")).is_none());
        assert!(gate.enter(&v6("2001:db8:0:1::3")).is_some());
        let _one = gate.enter(&at(1)).unwrap();
        let _two = gate.enter(&v6("::ffff:192.0.2.1")).unwrap();
        assert!(gate.enter(&at(1)).is_none(), "a mapped address is the address");
    }

    #[test]
    fn an_endpoint_is_a_source_wherever_it_is_and_no_exempt_address() {
        let exempt = vec!["192.0.2.0/24".into()];
        let gate = gate(&Limits { exempt, ..limits() });
        let endpoint = |last: u8, n: u8| Ends { endpoint: Some(EndpointId([n; 32])), ..at(last) };
        let _two = (gate.enter(&endpoint(1, 7)).unwrap(), gate.enter(&endpoint(2, 7)).unwrap());
        assert!(gate.enter(&endpoint(3, 7)).is_none());
        assert!(gate.enter(&endpoint(3, 8)).is_some());
    }

    #[test]
    fn a_flood_of_endpoints_takes_no_place_of_those_that_have_addresses() {
        let gate = gate(&Limits::default());
        let endpoint = |n: u32| {
            let mut id = [0; 32];
            id[..4].copy_from_slice(&n.to_be_bytes());
            Ends { endpoint: Some(EndpointId(id)), ..at(1) }
        };
        let flood: Vec<_> = (0..5000).filter_map(|n| gate.enter(&endpoint(n))).collect();
        assert_eq!(flood.len(), 256);
        let others: Vec<_> = (1..=60).filter_map(|last| gate.enter(&at(last))).collect();
        assert_eq!(others.len(), 60);
    }

    #[test]
    fn handshakes_that_do_not_log_in_are_rationed_and_log_ins_are_not() {
        let gate = gate(&Limits { penalties: None, ..Limits::default() });
        for _ in 0..100 {
            assert!(gate.enter(&at(1)).unwrap().log_in("key").is_ok());
        }
        let begun = (0..100).filter(|_| gate.enter(&at(1)).is_some()).count();
        // The second may turn while this runs.
        assert!((20..=40).contains(&begun), "{begun}");
    }

    #[test]
    fn sessions_are_counted_in_all_and_by_key() {
        let gate = gate(&Limits { max_sessions: 3, max_sessions_per_key: 2, ..limits() });
        let log_in = |key: &str| gate.enter(&at(1)).unwrap().log_in(key);
        let (one, _two) = (log_in("a").unwrap(), log_in("a").unwrap());
        assert_eq!(log_in("a").unwrap_err(), "too many sessions with this key");
        let _three = log_in("b").unwrap();
        assert_eq!(log_in("c").unwrap_err(), "too many sessions");
        drop(one);
        let _again = log_in("a").unwrap();
        assert_eq!(gate.state.lock().waiting, [0; 2]);
    }

    #[test]
    fn a_source_that_misbehaves_is_refused_and_the_rest_is_not() {
        let gate = gate(&Limits::default());
        // Time runs, so that three would fall short by nanoseconds.
        for _ in 0..4 {
            gate.enter(&at(1)).unwrap().blame(Offence::AuthFailed);
        }
        assert!(gate.enter(&at(1)).is_none());
        assert!(gate.enter(&at(2)).is_some());
    }

    #[test]
    fn a_session_that_is_one_too_many_costs_no_penalty() {
        let penalties = Some(Penalties { no_auth: SECOND * 600, ..Penalties::default() });
        let gate = gate(&Limits { max_sessions: 1, penalties, ..Limits::default() });
        let _one = gate.enter(&at(1)).unwrap().log_in("a").unwrap();
        assert!(gate.enter(&at(1)).unwrap().log_in("a").is_err());
        assert!(gate.enter(&at(1)).is_some());
    }

    #[test]
    fn sources_are_forgotten_when_there_is_nothing_to_count() {
        let gate = gate(&Limits { penalties: None, ..Limits::default() });
        for last in 0..200 {
            drop(gate.enter(&at(last)));
        }
        let mut state = gate.state.lock();
        assert!(state.sources.len() >= 100);
        let later = Instant::now() + SECOND * 2;
        state.sweep(later);
        assert_eq!(state.sources.len(), 0);
    }

    #[test]
    fn the_early_drop_begins_with_30_percent_and_ends_with_all() {
        let dropped = |waiting| (0..100).filter(|c| drops_early(waiting, 64, 256, *c)).count();
        assert_eq!([63, 64, 160, 256].map(dropped), [0, 30, 65, 100]);
        assert!(!drops_early(10, 64, 10, 0), "a hard limit below the soft one is only hard");
    }

    #[test]
    fn log_lines_about_one_source_are_rationed() {
        let gate = gate(&Limits::default());
        let place = gate.enter(&at(1)).unwrap();
        let lines = (0..100).filter(|_| place.may_log()).count();
        assert!((20..=40).contains(&lines), "{lines}");
    }

    #[test]
    fn exempt_addresses_are_bound_by_nothing_that_is_per_source() {
        let exempt = vec!["192.0.2.0/25".into(), "2001:db8::7".into()];
        let gate = gate(&Limits { exempt, ..limits() });
        for _ in 0..40 {
            gate.enter(&at(1)).unwrap().blame(Offence::Malformed);
        }
        let held: Vec<_> = (0..40).filter_map(|_| gate.enter(&at(1))).collect();
        assert_eq!(held.len(), 40);
        gate.enter(&at(200)).unwrap().blame(Offence::Malformed);
        assert!(gate.enter(&at(200)).is_none());
        for wrong in ["localhost", "10.0.0.0/33", "!10.0.0.1", ""] {
            let limits = Limits { exempt: vec![wrong.into()], ..Limits::default() };
            assert!(Gate::new(&limits).is_err(), "{wrong}");
        }
    }
}
