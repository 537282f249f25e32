//! What a visitor of a server's port sees.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;

use crate::http::{Head, HeaderValue, Page, Site, SocketRules, page};

/// A web server without any page but, at `path`, the WebSocket that SSH travels in.
pub(super) fn with_socket(path: &str, rules: SocketRules) -> Arc<Site> {
    Arc::new(nothing_else(Site::default().socket(path, rules)))
}

/// A web server without any page.
pub(super) fn empty() -> Arc<Site> {
    Arc::new(nothing_else(Site::default()))
}

fn nothing_else(site: Site) -> Site {
    site.otherwise(|head, _, _| std::future::ready(missing(&head)).boxed())
}

/// As web servers answer that have no page there, and take no forms.
fn missing(head: &Head) -> Page {
    let is_read = matches!(head.method.as_str(), "GET" | "HEAD");
    let (status, title) = match is_read {
        true => (404, "404 Not Found"),
        false => (405, "405 Not Allowed"),
    };
    let text = format!(
        "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n\
         </body>\r\n</html>\r\n"
    );
    let mut answer = page(status, "text/html", Bytes::from(text));
    answer.headers_mut().insert("server", HeaderValue::from_static("nginx"));
    answer
}
