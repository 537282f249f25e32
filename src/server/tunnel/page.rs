//! The host's web page: its files, as they are in this program, and what browsers are told about them.
//!
//! What is of others is kept compressed, as it is sent; a test compares it with what is published.

use std::sync::Arc;

use base64ct::{Base64UrlUnpadded, Encoding};
use futures_util::FutureExt;
use futures_util::future::ready;
use sha1::{Digest, Sha1};

use super::get_only;
use crate::http::{Head, HeaderValue, Page, Site, page};

/// A file of the page.
struct File {
    path: &'static str,
    kind: &'static str,
    /// Compressed with gzip.
    packed: bool,
    bytes: &'static [u8],
}

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

macro_rules! file {
    ($path:literal, $kind:expr, $packed:literal, $name:literal) => {
        File {
            path: $path,
            kind: $kind,
            packed: $packed,
            bytes: include_bytes!(concat!("page/", $name)),
        }
    };
}

static FILES: [File; 8] = [
    file!("/", HTML, false, "index.html"),
    file!("/ui/app.js", SCRIPT, false, "app.js"),
    file!("/ui/terminal.js", SCRIPT, false, "terminal.js"),
    file!("/ui/style.css", STYLE, false, "style.css"),
    file!("/ui/xterm.js", SCRIPT, true, "xterm.js.gz"),
    file!("/ui/xterm.css", STYLE, true, "xterm.css.gz"),
    file!("/ui/fit.js", SCRIPT, true, "fit.js.gz"),
    file!("/ui/licenses.txt", TEXT, false, "LICENSES"),
];

/// What a browser may do with the page: everything from here, nothing from elsewhere, no code in the text. A terminal writes its
/// 24-bit colours into attributes, and nothing else there.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline'; \
    connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HEADERS: [(&str, &str); 7] = [
    ("content-security-policy", POLICY),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    // Asked for again each time, and sent again when it has changed.
    ("cache-control", "no-cache"),
];

/// Adds the page to a site.
pub(super) fn pages(site: Site) -> Site {
    FILES.iter().fold(site, |site, file| {
        let tag: Arc<str> = tag(file.bytes).into();
        site.page(file.path, move |head, _, _| ready(show(&head, file, &tag)).boxed())
    })
}

fn show(head: &Head, file: &File, tag: &str) -> Page {
    if let Some(no) = get_only(head) {
        return no;
    }
    if file.packed && !unpacks(head) {
        return page(406, TEXT, "this file is sent with gzip\n");
    }
    let is_known = text(head, "if-none-match").is_some_and(|known| known.contains(tag));
    let mut shown = match is_known {
        true => page(304, file.kind, ""),
        false => page(200, file.kind, file.bytes),
    };
    let headers = shown.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Ok(tag) = HeaderValue::from_str(tag) {
        headers.insert("etag", tag);
    }
    if file.packed {
        headers.insert("content-encoding", HeaderValue::from_static("gzip"));
        headers.insert("vary", HeaderValue::from_static("accept-encoding"));
    }
    shown
}

/// Whether somebody takes what is compressed; who does not say takes anything (RFC 9110 §12.5.3).
fn unpacks(head: &Head) -> bool {
    let Some(accepted) = text(head, "accept-encoding") else { return true };
    accepted.split(',').any(|coding| {
        let mut words = coding.split(';').map(str::trim);
        let is_it = matches!(words.next(), Some("gzip" | "x-gzip" | "*"));
        is_it && !words.any(|word| word.strip_prefix("q=").is_some_and(is_zero))
    })
}

fn is_zero(weight: &str) -> bool {
    weight.parse().is_ok_and(|weight: f32| weight == 0.0)
}

fn text<'a>(head: &'a Head, name: &str) -> Option<&'a str> {
    head.headers.get(name)?.to_str().ok()
}

/// An entity tag (RFC 9110 §8.8.3).
fn tag(bytes: &[u8]) -> String {
    format!("\"{}\"", Base64UrlUnpadded::encode_string(&Sha1::digest(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Request;

    #[test]
    fn what_is_compressed_goes_to_who_unpacks_it() {
        let head = |accepted: Option<&str>| {
            let mut request = Request::get("/");
            if let Some(accepted) = accepted {
                request = request.header("accept-encoding", accepted);
            }
            request.body(()).expect("a request").into_parts().0
        };
        for accepted in [None, Some("gzip"), Some("br, gzip;q=0.5"), Some("*"), Some("x-gzip")] {
            assert!(unpacks(&head(accepted)), "{accepted:?}");
        }
        for accepted in ["", "br", "identity", "gzip;q=0", "gzip; q=0.0, br"] {
            assert!(!unpacks(&head(Some(accepted))), "{accepted}");
        }
    }
}
