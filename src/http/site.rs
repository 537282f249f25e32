//! What a server answers, by path.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderValue, ORIGIN};
use hyper::{Response, StatusCode, http};

use super::SocketLimits;

/// A request without its body: method, path and query, headers.
pub(crate) type Head = http::request::Parts;

/// An answer.
pub(crate) type Page = Response<Full<Bytes>>;

type Answer = dyn Fn(Head, Option<String>, Bytes) -> BoxFuture<'static, Page> + Send + Sync;

type Admit = dyn Fn(&Head, Option<&str>) -> Result<(), u16> + Send + Sync;

/// The routes of a server. The first that fits a path answers; without one, [`Site::otherwise`] does.
#[derive(Default)]
pub(crate) struct Site {
    routes: Vec<Route>,
    otherwise: Option<Arc<Answer>>,
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
    /// Looked at last; the status is the answer when it is no.
    pub(crate) admit: Option<Box<Admit>>,
    pub(crate) limits: SocketLimits,
}

impl SocketRules {
    /// For programs by any name of the server, and for no web page.
    pub(crate) fn new(name: &'static str) -> Self {
        let limits = SocketLimits::default();
        Self { name, hosts: None, origins: Vec::new(), admit: None, limits }
    }

    /// # Errors
    /// The status that says why not.
    pub(super) fn check(&self, head: &Head, parameter: Option<&str>) -> Result<(), u16> {
        let text = |name| head.headers.get(name).map(HeaderValue::to_str);
        let origin_fits = match text(ORIGIN) {
            None => true,
            Some(origin) => origin.is_ok_and(|o| self.origins.iter().any(|one| one == o)),
        };
        let host = text(HOST).and_then(Result::ok).map(without_port).unwrap_or_default();
        let known = |hosts: &Vec<String>| hosts.iter().any(|one| one.eq_ignore_ascii_case(host));
        if !origin_fits || !self.hosts.as_ref().is_none_or(known) {
            return Err(403);
        }
        self.admit.as_ref().map_or(Ok(()), |admit| admit(head, parameter))
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

impl Site {
    /// Adds a page at `pattern`: a path, in which one part may be `{}`, which stands for anything and is handed over. `answer` sees
    /// every method, and a body of 64 KiB at most.
    #[must_use]
    pub(crate) fn page(
        mut self,
        pattern: &str,
        answer: impl Fn(Head, Option<String>, Bytes) -> BoxFuture<'static, Page> + Send + Sync + 'static,
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

    /// What any other path shows. Default: 404.
    #[must_use]
    pub(crate) fn otherwise(
        mut self,
        answer: impl Fn(Head, Option<String>, Bytes) -> BoxFuture<'static, Page> + Send + Sync + 'static,
    ) -> Self {
        self.otherwise = Some(Arc::new(answer));
        self
    }

    pub(super) fn find(&self, path: &str) -> (Then, Option<String>) {
        let found = self.routes.iter().find_map(|route| {
            fits(&route.pattern, path).map(|parameter| (route.then.clone(), parameter))
        });
        let fallback = || self.otherwise.clone().map_or(Then::Nothing, Then::Page);
        found.unwrap_or_else(|| (fallback(), None))
    }
}

/// `Some` when `path` is of the form of `pattern`, with what stands for its `{}`.
fn fits(pattern: &str, path: &str) -> Option<Option<String>> {
    let mut parameter = None;
    let (mut wanted, mut given) = (pattern.split('/'), path.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(parameter),
            (Some("{}"), Some(part)) if !part.is_empty() => parameter = Some(part.to_owned()),
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
    use super::*;

    #[test]
    fn a_pattern_fits_its_path_and_hands_over_one_part() {
        for (pattern, path, found) in [
            ("/", "/", Some(None)),
            ("/alknet", "/alknet", Some(None)),
            ("/alknet", "/alknet/", None),
            ("/alknet", "/", None),
            ("/a/{}", "/a/b", Some(Some("b"))),
            ("/a/{}/c", "/a/b/c", Some(Some("b"))),
            ("/a/{}", "/a/", None),
            ("/a/{}", "/a/b/c", None),
        ] {
            let found = found.map(|one: Option<&str>| one.map(str::to_owned));
            assert_eq!(fits(pattern, path), found, "{pattern} {path}");
        }
    }

    #[test]
    fn only_listed_origins_and_hosts_open_a_socket_and_programs_send_no_origin() {
        let head = |host: &'static str, origin: Option<&'static str>| {
            let mut head = http::Request::new(()).into_parts().0;
            head.headers.insert(HOST, HeaderValue::from_static(host));
            if let Some(origin) = origin {
                head.headers.insert(ORIGIN, HeaderValue::from_static(origin));
            }
            head
        };
        let open = SocketRules::new("any");
        assert!(open.check(&head("a.example", None), None).is_ok());
        assert!(open.check(&head("a.example", Some("https://a.example")), None).is_err());
        let rules = SocketRules {
            hosts: Some(vec!["a.example".into(), "[::1]".into()]),
            origins: vec!["https://app.example".into()],
            ..SocketRules::new("some")
        };
        assert!(rules.check(&head("A.example:443", Some("https://app.example")), None).is_ok());
        assert!(rules.check(&head("[::1]:443", None), None).is_ok());
        assert!(rules.check(&head("b.example", None), None).is_err());
        assert!(rules.check(&head("a.example", Some("https://evil.example")), None).is_err());
    }
}
