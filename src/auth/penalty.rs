//! Sources that misbehaved, and until when they are refused. Bounded: the longest gone goes first.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use super::Penalties;
use super::source::Source;

/// Sources remembered (reference table: penalties): about 8 MB.
const MOST_SOURCES: usize = 65_536;

/// Why a connection that did not log in ended; the later, the graver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Offence {
    /// It went away without having tried.
    #[default]
    NoAuth,
    AuthFailed,
    TimedOut,
    Malformed,
}

/// See the module.
#[derive(Debug)]
pub(super) struct PenaltyBox {
    penalties: Penalties,
    sentences: HashMap<Source, Sentence>,
    by_end: BTreeSet<(Instant, Source)>,
    most: usize,
}

#[derive(Clone, Copy, Debug)]
struct Sentence {
    end: Instant,
    /// The sum has come to the threshold.
    in_force: bool,
}

impl PenaltyBox {
    pub(super) fn new(penalties: Penalties) -> Self {
        Self { penalties, sentences: HashMap::new(), by_end: BTreeSet::new(), most: MOST_SOURCES }
    }

    /// Adds what `offence` costs. Returns the time to go when this puts the source out.
    pub(super) fn add(
        &mut self,
        source: Source,
        offence: Offence,
        now: Instant,
    ) -> Option<Duration> {
        self.expire(now);
        let Penalties { auth_failed, no_auth, timed_out, malformed, threshold, longest } =
            self.penalties;
        let cost = match offence {
            Offence::NoAuth => no_auth,
            Offence::AuthFailed => auth_failed,
            Offence::TimedOut => timed_out,
            Offence::Malformed => malformed,
        };
        if cost.is_zero() {
            return None;
        }
        let known = self.sentences.get(&source).copied();
        let before = known.map_or(Duration::ZERO, |known| known.end - now);
        let sum = (before + cost).min(longest);
        let was_in_force = known.is_some_and(|known| known.in_force);
        let sentence = Sentence { end: now + sum, in_force: was_in_force || sum >= threshold };
        if let Some(known) = known {
            self.by_end.remove(&(known.end, source));
        } else if self.sentences.len() >= self.most
            && let Some((_, soonest)) = self.by_end.pop_first()
        {
            self.sentences.remove(&soonest);
        }
        self.sentences.insert(source, sentence);
        self.by_end.insert((sentence.end, source));
        (sentence.in_force && !was_in_force).then_some(sum)
    }

    /// Whether the source is to be refused.
    pub(super) fn is_out(&mut self, source: Source, now: Instant) -> bool {
        self.expire(now);
        self.sentences.get(&source).is_some_and(|sentence| sentence.in_force)
    }

    fn expire(&mut self, now: Instant) {
        while let Some((end, source)) = self.by_end.first().copied()
            && end <= now
        {
            self.by_end.pop_first();
            self.sentences.remove(&source);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn ip(last: u8) -> Source {
        Source::network(IpAddr::from([192, 0, 2, last]))
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn three_failed_logins_put_a_source_out_for_fifteen_seconds_and_no_other() {
        let (mut jail, now) = (PenaltyBox::new(Penalties::default()), Instant::now());
        assert_eq!(jail.add(ip(1), Offence::AuthFailed, now), None);
        assert_eq!(jail.add(ip(1), Offence::AuthFailed, now), None);
        assert!(!jail.is_out(ip(1), now));
        assert_eq!(jail.add(ip(1), Offence::AuthFailed, now), Some(secs(15)));
        assert!(jail.is_out(ip(1), now + secs(14)));
        assert!(!jail.is_out(ip(2), now));
        assert!(!jail.is_out(ip(1), now + secs(15)));
    }

    #[test]
    fn offences_far_apart_add_up_to_nothing() {
        let (mut jail, start) = (PenaltyBox::new(Penalties::default()), Instant::now());
        for step in 0..100 {
            assert_eq!(jail.add(ip(1), Offence::AuthFailed, start + secs(6 * step)), None);
        }
    }

    #[test]
    fn a_source_in_force_stays_out_until_the_whole_sum_has_run_out_and_no_longer_than_the_cap() {
        let (mut jail, now) = (PenaltyBox::new(Penalties::default()), Instant::now());
        for _ in 0..100 {
            jail.add(ip(1), Offence::Malformed, now);
        }
        assert!(jail.is_out(ip(1), now + secs(599)));
        assert!(!jail.is_out(ip(1), now + secs(600)));
    }

    #[test]
    fn the_table_is_bounded_and_the_one_that_ends_soonest_makes_room() {
        let (mut jail, now) = (PenaltyBox::new(Penalties::default()), Instant::now());
        jail.most = 3;
        jail.add(ip(1), Offence::Malformed, now);
        jail.add(ip(2), Offence::NoAuth, now);
        jail.add(ip(3), Offence::Malformed, now);
        jail.add(ip(4), Offence::Malformed, now);
        assert_eq!((jail.sentences.len(), jail.by_end.len()), (3, 3));
        assert!(jail.is_out(ip(1), now) && jail.is_out(ip(4), now));
        assert!(!jail.sentences.contains_key(&ip(2)));
        assert!(!jail.is_out(ip(1), now + secs(31)));
        assert_eq!((jail.sentences.len(), jail.by_end.len()), (0, 0));
    }

    #[test]
    fn an_offence_that_costs_nothing_is_not_remembered() {
        let free = Penalties { no_auth: Duration::ZERO, ..Penalties::default() };
        let mut jail = PenaltyBox::new(free);
        jail.add(ip(1), Offence::NoAuth, Instant::now());
        assert!(jail.sentences.is_empty());
    }
}
