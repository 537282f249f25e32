//! What a server answers, by path.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, ORIGIN};
use hyper::{Response, StatusCode, http};

use super::path::decoded;
use super::{SocketLimits, asks_for_socket};

/// A request without its body: method, path and query, headers.
pub(crate) type Head = http::request::Parts;

/// An answer.
pub(crate) type Page = Response<Full<Bytes>>;

/// What stands for each `{}` of a pattern, decoded.
pub(crate) type Parts = Vec<String>;

type Answer = dyn Fn(Head, Parts, Bytes) -> BoxFuture<'static, Page> + Send + Sync;

type Admit = dyn Fn(&Head, &[String]) -> Result<(), Box<Page>> + Send + Sync;

/// The routes of a server. The first that fits a path answers; without one, [`Site::otherwise`] does.
#[derive(Default)]
pub(crate) struct Site {
    routes: Vec<Route>,
    otherwise: Option<Arc<Answer>>,
    unnamed: bool,
}

struct Route {
    pattern: String,
    then: Then,
}

/// What a path leads to.
#[derive(Clone)]
pub(super) enum Then {
    Page(Arc<Answer>),
    Socket(Arc<SocketRules>),
    /// A page that is not there.
    Nothing,
}

/// Who may open a WebSocket, and how large its messages are.
pub(crate) struct SocketRules {
    /// What the caller tells its routes apart by.
    pub(crate) name: &'static str,
    /// Names by which the server may be called, without ports; `None` takes any. Against DNS rebinding.
    pub(crate) hosts: Option<Vec<String>>,
    /// Origins whose pages may open it. Programs other than browsers send no origin, and may.
    pub(crate) origins: Vec<String>,
    /// Whether pages of this very server may open it too.
    pub(crate) own_pages: bool,
    /// Sub-protocols that are spoken, the best first. Clients that offer none of them may open it all the same.
    pub(crate) protocols: &'static [&'static str],
    /// Whether there is nothing to be seen here but for who may open it: others get the answer of a path that leads nowhere.
    pub(crate) is_hidden: bool,
    /// Looked at last; says no with the page that is the answer.
    pub(crate) admit: Option<Box<Admit>>,
    pub(crate) limits: SocketLimits,
}

impl SocketRules {
    /// For programs by any name of the server, and for no web page.
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            hosts: None,
            origins: Vec::new(),
            own_pages: false,
            protocols: &[],
            is_hidden: false,
            admit: None,
            limits: SocketLimits::default(),
        }
    }

    /// Whether the server may be called so, and by such a page.
    pub(super) fn fit(&self, headers: &HeaderMap) -> bool {
        let text = |name| headers.get(name).map(HeaderValue::to_str);
        let host = text(HOST).and_then(Result::ok).unwrap_or_default();
        let is_listed = |origin: &str| self.origins.iter().any(|one| one == origin);
        let is_own = |origin: &str| {
            let at = origin.split_once("://").map(|(_, at)| at);
            self.own_pages && at.is_some_and(|at| at.eq_ignore_ascii_case(host))
        };
        let origin_fits = match text(ORIGIN) {
            None => true,
            Some(origin) => origin.is_ok_and(|origin| is_listed(origin) || is_own(origin)),
        };
        let name = without_port(host);
        let known = |hosts: &Vec<String>| hosts.iter().any(|one| one.eq_ignore_ascii_case(name));
        origin_fits && self.hosts.as_ref().is_none_or(known)
    }
}

/// Whether a request calls the server by an address or as localhost, which nobody else can make lead here, or by nothing at all.
fn is_unnamed(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST) else { return true };
    let name = without_port(host.to_str().unwrap_or("?"));
    let ip = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let name = name.to_ascii_lowercase();
    ip.parse::<IpAddr>().is_ok() || name == "localhost" || name.ends_with(".localhost")
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

/// The token in a request's `Authorization: Bearer …` (RFC 6750 §2.1).
pub(crate) fn bearer(head: &Head) -> Option<&str> {
    let value = head.headers.get(AUTHORIZATION)?.to_str().ok()?;
    value.strip_prefix("Bearer ").map(str::trim)
}

impl Site {
    /// Adds a page at `pattern`: a path whose parts may be `{}`, which stand for anything and are handed over. `answer` sees every
    /// method, and a body of 64 KiB at most.
    #[must_use]
    pub(crate) fn page(
        mut self,
        pattern: &str,
        answer: impl Fn(Head, Parts, Bytes) -> BoxFuture<'static, Page> + Send + Sync + 'static,
    ) -> Self {
        let then = Then::Page(Arc::new(answer));
        self.routes.push(Route { pattern: pattern.to_owned(), then });
        self
    }

    /// Adds a WebSocket at `pattern`.
    #[must_use]
    pub(crate) fn socket(mut self, pattern: &str, rules: SocketRules) -> Self {
        let then = Then::Socket(Arc::new(rules));
        self.routes.push(Route { pattern: pattern.to_owned(), then });
        self
    }

    /// Whether browsers must call the server by an address or as localhost, or are told 403: where nobody needs a token, it must not be
    /// reached by a name that a page elsewhere makes lead here (DNS rebinding). Default: by any name.
    #[must_use]
    pub(crate) fn unnamed(mut self, unnamed: bool) -> Self {
        self.unnamed = unnamed;
        self
    }

    /// What any other path shows. Default: 404.
    #[must_use]
    pub(crate) fn otherwise(
        mut self,
        answer: impl Fn(Head, Parts, Bytes) -> BoxFuture<'static, Page> + Send + Sync + 'static,
    ) -> Self {
        self.otherwise = Some(Arc::new(answer));
        self
    }

    pub(super) fn find(&self, path: &str) -> (Then, Parts) {
        let found = self
            .routes
            .iter()
            .find_map(|route| fits(&route.pattern, path).map(|parts| (route.then.clone(), parts)));
        found.unwrap_or_else(|| (self.nowhere(), Parts::new()))
    }

    /// Whether somebody may ask for anything, by what the server is called. Programs that open a WebSocket send no origin, and may.
    pub(super) fn welcomes(&self, headers: &HeaderMap) -> bool {
        let is_program = asks_for_socket(headers) && !headers.contains_key(ORIGIN);
        !self.unnamed || is_program || is_unnamed(headers)
    }

    /// What a path leads to that leads nowhere.
    pub(super) fn nowhere(&self) -> Then {
        self.otherwise.clone().map_or(Then::Nothing, Then::Page)
    }
}

/// `Some` when `path` is of the form of `pattern`, with what stands for each `{}`.
fn fits(pattern: &str, path: &str) -> Option<Parts> {
    let mut parts = Parts::new();
    let (mut wanted, mut given) = (pattern.split('/'), path.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(parts),
            (Some("{}"), Some(part)) if !part.is_empty() => parts.push(decoded(part)),
            (Some(one), Some(other)) if one == other => {}
            _ => return None,
        }
    }
}

/// An answer with `text` in it, of a type such as `text/html`.
pub(crate) fn page(status: u16, content_type: &'static str, text: impl Into<Bytes>) -> Page {
    let mut page = Response::new(Full::new(text.into()));
    *page.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers: &mut HeaderMap = page.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    page
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderName;

    use super::*;

    #[test]
    fn a_pattern_fits_its_path_and_hands_over_its_parts() {
        for (pattern, path, found) in [
            ("/", "/", Some(&[][..])),
            ("/alknet", "/alknet", Some(&[])),
            ("/alknet", "/alknet/", None),
            ("/alknet", "/", None),
            ("/a/{}", "/a/b", Some(&["b"])),
            ("/a/{}/c/{}", "/a/b%20x/c/d", Some(&["b x", "d"])),
            ("/a/{}", "/a/", None),
            ("/a/{}", "/a/b/c", None),
        ] {
            let found = found.map(|parts| parts.iter().map(|part| (*part).to_owned()).collect());
            assert_eq!(fits(pattern, path), found, "{pattern} {path}");
        }
    }

    #[test]
    fn an_unnamed_server_is_called_by_addresses_and_as_localhost_by_browsers() {
        let headers = |pairs: &[(&'static str, &'static str)]| -> HeaderMap {
            let pair = |(name, value): &(&'static str, &'static str)| {
                (HeaderName::from_static(name), HeaderValue::from_static(value))
            };
            pairs.iter().map(pair).collect()
        };
        let site = Site::default().unnamed(true);
        let own =
            ["127.0.0.1:1", "127.0.0.1", "[::1]:1", "localhost:1", "LOCALHOST", "a.localhost"];
        for host in own {
            assert!(site.welcomes(&headers(&[("host", host)])), "{host}");
        }
        for host in ["rebound.example:1", "localhost.example", "::1.example", ""] {
            assert!(!site.welcomes(&headers(&[("host", host)])), "{host}");
            assert!(Site::default().welcomes(&headers(&[("host", host)])), "{host}");
        }
        let program = [("host", "h"), ("connection", "upgrade"), ("upgrade", "websocket")];
        assert!(site.welcomes(&headers(&program)));
        assert!(!site.welcomes(&headers(&[&program[..], &[("origin", "http://h")]].concat())));
    }

    #[test]
    fn only_listed_origins_and_hosts_open_a_socket_and_programs_send_no_origin() {
        let head = |host: &'static str, origin: Option<&'static str>| {
            let mut head = http::Request::new(()).into_parts().0;
            head.headers.insert(HOST, HeaderValue::from_static(host));
            if let Some(origin) = origin {
                head.headers.insert(ORIGIN, HeaderValue::from_static(origin));
            }
            head.headers
        };
        let open = SocketRules::new("any");
        assert!(open.fit(&head("a.example", None)));
        assert!(!open.fit(&head("a.example", Some("https://a.example"))));
        let rules = SocketRules {
            hosts: Some(vec!["a.example".into(), "[::1]".into()]),
            origins: vec!["https://app.example".into()],
            ..SocketRules::new("some")
        };
        assert!(rules.fit(&head("A.example:443", Some("https://app.example"))));
        assert!(rules.fit(&head("[::1]:443", None)));
        assert!(!rules.fit(&head("b.example", None)));
        assert!(!rules.fit(&head("a.example", Some("https://evil.example"))));
        let own = SocketRules { own_pages: true, ..SocketRules::new("own") };
        assert!(own.fit(&head("h:1", Some("http://h:1"))));
        for other in ["http://h:2", "http://evil", "null"] {
            assert!(!own.fit(&head("h:1", Some(other))), "{other}");
        }
    }
}
