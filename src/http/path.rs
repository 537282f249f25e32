//! Paths and queries: parts, and what is escaped in them (RFC 3986 §2.1).

use super::Head;

/// `name` as one part of a path.
pub(crate) fn segment(name: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    name.bytes()
        .map(|byte| match plain(&byte) {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        })
        .collect()
}

/// What a request's query says of `name`.
pub(crate) fn query(head: &Head, name: &str) -> Option<String> {
    let pairs = head.uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decoded(name), value)).find_map(|(found, value)| {
        let is_it = found == name;
        is_it.then(|| decoded(value))
    })
}

/// `%41` is `A`; what is no UTF-8 then stays as it was.
pub(crate) fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = match (first, tail) {
            (b'%', [a, b, ..]) if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => {
                std::str::from_utf8(&[*a, *b]).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok())
            }
            _ => None,
        };
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    #[test]
    fn names_are_one_segment_and_come_back() {
        for name in ["kohakuriver-task-5", "a/b c?", "100%", "%41", "ü"] {
            assert!(!segment(name).contains(['/', '?', ' ']));
            assert_eq!(decoded(&segment(name)), name);
        }
        assert_eq!(
            (decoded("%"), decoded("%4"), decoded("%zz")),
            ("%".into(), "%4".into(), "%zz".into())
        );
    }

    #[test]
    fn a_query_is_read_by_name() {
        let head = |uri| Request::get(uri).body(()).unwrap().into_parts().0;
        assert_eq!(query(&head("/a?x=1&y=b%20c"), "y").as_deref(), Some("b c"));
        assert_eq!(query(&head("/a?x=1&xy"), "xy"), None);
        assert_eq!(query(&head("/a"), "x"), None);
    }
}
