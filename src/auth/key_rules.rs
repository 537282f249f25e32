//! What the options of an `authorized_keys` line allow whoever logs in with its key.

use std::net::IpAddr;

use super::pattern::{Sources, glob, glob_exact};

/// The restrictions of one key; a line without options has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyRules {
    pub(super) from: Option<Sources>,
    /// Unix seconds; from then on the key does not log in.
    pub(super) expires: Option<i64>,
    pub(super) no_forwarding: bool,
    /// The key may run one command only. No command runs here, so nothing may be opened.
    pub(super) command: bool,
    pub(super) open: Vec<Permit>,
    pub(super) listen: Vec<Permit>,
    /// Patterns of topics; without any, all of them.
    pub(super) publish: Vec<String>,
    pub(super) subscribe: Vec<String>,
}

impl KeyRules {
    /// Whether the key may log in from `source` at `now` (Unix seconds); else why not. A source that is not known is in no
    /// list.
    pub(crate) fn admit(&self, source: Option<IpAddr>, now: i64) -> Result<(), &'static str> {
        if self.expires.is_some_and(|expires| now >= expires) {
            return Err("the key has expired");
        }
        match &self.from {
            Some(from) if !source.is_some_and(|source| from.allow(source)) => {
                Err("the key is not for use from this address")
            }
            _ => Ok(()),
        }
    }

    /// Whether streams to the program itself (the reserved names) may be opened.
    pub(crate) fn may_reach_program(&self) -> bool {
        !self.command
    }

    /// Whether a stream to `host`, as the client names it, may be dialled. The key's side of it: the server's own policy
    /// comes on top.
    pub(crate) fn may_open(&self, host: &str, port: u16) -> bool {
        self.may_forward() && permits(&self.open, port, |permit| permit.is_host(host))
    }

    /// Whether `host` (as the client names it, `""` for all addresses) and `port` may be listened on.
    pub(crate) fn may_listen(&self, host: &str, port: u16) -> bool {
        self.may_forward() && permits(&self.listen, port, |permit| glob(&permit.host, bare(host)))
    }

    /// Whether events of `topic` may be published on the server's bus.
    pub(crate) fn may_publish(&self, topic: &str) -> bool {
        permits_topic(&self.publish, topic)
    }

    /// Whether `topic` may be subscribed to on the server's bus.
    pub(crate) fn may_subscribe(&self, topic: &str) -> bool {
        permits_topic(&self.subscribe, topic)
    }

    /// Whether the key is for some topics only.
    pub(crate) fn limits_topics(&self) -> bool {
        !self.publish.is_empty() || !self.subscribe.is_empty()
    }

    fn may_forward(&self) -> bool {
        !self.no_forwarding && !self.command
    }
}

fn permits_topic(patterns: &[String], topic: &str) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| glob_exact(pattern, topic))
}

fn permits(list: &[Permit], port: u16, is_host: impl Fn(&Permit) -> bool) -> bool {
    let fits = |permit: &Permit| permit.port.is_none_or(|only| only == port) && is_host(permit);
    list.is_empty() || list.iter().any(fits)
}

/// One `permitopen` or `permitlisten`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Permit {
    /// Without brackets.
    host: String,
    /// `None` for `*`.
    port: Option<u16>,
}

impl Permit {
    /// `host:port` or `[host]:port`.
    pub(super) fn open(text: &str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => rest.split_once("]:")?,
            None => text.rsplit_once(':')?,
        };
        if host.is_empty() || (!text.starts_with('[') && host.contains(':')) {
            return None;
        }
        let port = match port {
            "*" => None,
            number => Some(number.parse().ok().filter(|port| *port != 0)?),
        };
        Some(Self { host: host.to_owned(), port })
    }

    /// The same, or `port` alone for any host.
    pub(super) fn listen(text: &str) -> Option<Self> {
        match text.contains(':') {
            true => Self::open(text),
            false => Self::open(&format!("*:{text}")),
        }
    }

    /// Hosts are compared as they are written, addresses as addresses; `*` is any.
    fn is_host(&self, host: &str) -> bool {
        let host = bare(host);
        self.host == "*"
            || self.host.eq_ignore_ascii_case(host)
            || match (self.host.parse::<IpAddr>(), host.parse::<IpAddr>()) {
                (Ok(ours), Ok(theirs)) => ours == theirs,
                _ => false,
            }
    }
}

/// The host without brackets.
fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(open: &[&str], listen: &[&str]) -> KeyRules {
        let made = |permit: Option<Permit>| permit.unwrap_or_else(|| panic!("a permit"));
        KeyRules {
            open: open.iter().map(|text| made(Permit::open(text))).collect(),
            listen: listen.iter().map(|text| made(Permit::listen(text))).collect(),
            ..KeyRules::default()
        }
    }

    #[test]
    fn a_key_without_options_may_everything() {
        let rules = KeyRules::default();
        assert_eq!(rules.admit(None, 0), Ok(()));
        assert!(rules.may_open("db", 5432) && rules.may_listen("", 8080));
        assert!(rules.may_reach_program());
    }

    #[test]
    fn permitopen_allows_what_it_names_and_nothing_else() {
        let rules = rules(&["db.example:5432", "[2001:db8::1]:*", "127.0.0.1:80"], &[]);
        for (host, port) in
            [("DB.example", 5432), ("2001:db8:0::1", 9), ("[2001:db8::1]", 1), ("127.0.0.1", 80)]
        {
            assert!(rules.may_open(host, port), "{host} {port}");
        }
        for (host, port) in
            [("db.example", 22), ("db", 5432), ("127.0.0.1", 81), ("localhost", 80), ("*", 80)]
        {
            assert!(!rules.may_open(host, port), "{host} {port}");
        }
        assert!(rules.may_listen("localhost", 1), "permitopen says nothing of listening");
    }

    #[test]
    fn permitopen_takes_its_host_literally_but_for_a_lone_star() {
        assert!(!rules(&["*.example:80"], &[]).may_open("db.example", 80));
        assert!(rules(&["*:80"], &[]).may_open("db.example", 80));
    }

    #[test]
    fn permitlisten_takes_a_port_alone_and_patterns() {
        let rules = rules(&[], &["8080", "localhost:*", "10.0.*:9000", "[::1]:9001"]);
        for (host, port) in
            [("", 8080), ("0.0.0.0", 8080), ("localhost", 1), ("10.0.0.1", 9000), ("::1", 9001)]
        {
            assert!(rules.may_listen(host, port), "{host} {port}");
        }
        for (host, port) in [("", 8081), ("127.0.0.1", 1), ("10.1.0.1", 9000), ("::1", 9000)] {
            assert!(!rules.may_listen(host, port), "{host} {port}");
        }
        assert!(rules.may_open("db", 5432), "permitlisten says nothing of dialling");
    }

    #[test]
    fn permits_that_are_none_are_refused() {
        for text in ["", "db", "db:", ":80", "db:0", "db:65536", "db:http", "::1:80", "[::1]80"] {
            assert_eq!(Permit::open(text), None, "{text}");
        }
        for text in ["", "0", "x", "65536", ":80"] {
            assert_eq!(Permit::listen(text), None, "{text}");
        }
    }

    #[test]
    fn topics_are_patterns_and_those_of_the_two_directions_are_apart() {
        let rules = KeyRules {
            publish: vec!["chat:*".into(), "ping".into()],
            subscribe: vec![String::new()],
            ..KeyRules::default()
        };
        assert!(rules.may_publish("chat:1") && rules.may_publish("ping") && rules.limits_topics());
        assert!(
            !rules.may_publish("Ping")
                && !rules.may_publish("pong")
                && !rules.may_subscribe("ping")
        );
        let free = KeyRules::default();
        assert!(free.may_publish("x") && free.may_subscribe("x") && !free.limits_topics());
    }

    #[test]
    fn without_forwarding_permits_permit_nothing() {
        for rules in [
            KeyRules { no_forwarding: true, ..rules(&["db:1"], &["1"]) },
            KeyRules { command: true, ..rules(&["db:1"], &["1"]) },
        ] {
            assert!(!rules.may_open("db", 1) && !rules.may_listen("", 1), "{rules:?}");
        }
    }

    #[test]
    fn a_source_that_is_not_known_is_in_no_list() {
        let from = Sources::parse("*").ok();
        let rules = KeyRules { from, ..KeyRules::default() };
        assert!(rules.admit(None, 0).is_err());
        assert_eq!(rules.admit(Some(IpAddr::from([10, 0, 0, 1])), 0), Ok(()));
    }
}
