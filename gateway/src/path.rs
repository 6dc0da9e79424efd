//! One canonical form of a request path, or none.
//!
//! Policy decides on this form and the upstream gets exactly this form, so there is no second reading to
//! slip through. What two HTTP stacks might read differently (encoded slashes, dot segments, backslashes,
//! empty segments, path parameters) is refused, not repaired. The one repair: `%41` becomes `A`
//! (RFC 3986, section 6.2.2.2), which every stack agrees on.

use std::borrow::Cow;

/// A path that every HTTP stack reads the same way. Starts with `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CanonicalPath<'a>(Cow<'a, str>);

/// The path has more than one reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ambiguous;

impl<'a> CanonicalPath<'a> {
    /// Parses the path part of a request target (no query). `*` (OPTIONS) stays as it is.
    pub fn parse(path: &'a str) -> Result<Self, Ambiguous> {
        if path == "*" {
            return Ok(Self(Cow::Borrowed(path)));
        }
        if !path.starts_with('/') {
            return Err(Ambiguous);
        }
        let path = if path.contains('%') {
            Cow::Owned(decode_unreserved(path)?)
        } else {
            Cow::Borrowed(path)
        };
        if path
            .bytes()
            .any(|b| matches!(b, b'\\' | b';' | b'#' | b'?' | 0..=0x20 | 0x7f..))
        {
            return Err(Ambiguous);
        }
        let mut segments = path.as_bytes()[1..].split(|b| *b == b'/').peekable();
        while let Some(segment) = segments.next() {
            let empty_inside = segment.is_empty() && segments.peek().is_some();
            if empty_inside || segment == b"." || segment == b".." {
                return Err(Ambiguous);
            }
        }
        Ok(Self(path))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the text differs from what the client sent.
    pub fn is_rewritten(&self) -> bool {
        matches!(self.0, Cow::Owned(_))
    }

    /// Whether this path is `prefix` or lies below it, by whole segments. "" matches every path, also `*`, which lies
    /// below no other prefix.
    pub fn is_below(&self, prefix: &str) -> bool {
        // `*` has no segments, and is no less a path that a rule for everything is about.
        prefix.is_empty()
            || self
                .0
                .strip_prefix(prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// Decodes percent-encoded unreserved characters, raises the hex digits of the others, and refuses those
/// that some stack would decode into a separator or a dot.
fn decode_unreserved(path: &str) -> Result<String, Ambiguous> {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let byte = escaped(&rest[at..]).ok_or(Ambiguous)?;
        let digits = &rest[at + 1..at + 3];
        rest = &rest[at + 3..];
        match byte {
            b'/' | b'\\' | b'.' | b';' | b'%' | 0..=0x1f | 0x7f => return Err(Ambiguous),
            _ if begins_overlong(byte, escaped(rest)) => return Err(Ambiguous),
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' => {
                out.push(char::from(byte))
            }
            _ => {
                out.push('%');
                out.extend(digits.chars().map(|c| c.to_ascii_uppercase()));
            }
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// The byte that `text` begins with, percent-encoded.
fn escaped(text: &str) -> Option<u8> {
    let digits = text.strip_prefix('%')?.get(..2)?;
    let valid = digits.bytes().all(|b| b.is_ascii_hexdigit());
    u8::from_str_radix(digits, 16).ok().filter(|_| valid)
}

/// Whether two bytes begin UTF-8 that is longer than it need be (RFC 3629, section 3), in which careless
/// decoders see a dot or a slash: `%c0%ae`, `%e0%80%af`.
fn begins_overlong(first: u8, second: Option<u8>) -> bool {
    match first {
        0xc0 | 0xc1 => true,
        0xe0 => matches!(second, Some(0x80..=0x9f)),
        0xf0 => matches!(second, Some(0x80..=0x8f)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ambiguous_paths_are_refused() {
        for path in [
            "",
            "a",
            "//",
            "/a//b",
            "/./a",
            "/a/..",
            "/a/../b",
            "/a/.",
            "/a%2fb",
            "/a%2Fb",
            "/%2e%2e/a",
            "/a%5cb",
            "/a\\b",
            "/a;b=c",
            "/a%3bb",
            "/a%00",
            "/a%",
            "/a%2",
            "/a%zz",
            "/a%+1",
            "/a%252f",
            "/a#b",
            "/a b",
            "/a%0a",
            "/\u{e9}",
            "/a/%c0%ae%C0%AE/b",
            "/a%c1%9c",
            "/a%e0%80%af",
            "/a%f0%80%80%af",
            // One spelling in several cases and mixtures.
            "/a%2F..%2fb",
            "/.%2E/a",
            "/%2E/a",
            "/a/%2e%2E",
            "/a%5C..%5cb",
            "/a%3B/../b",
            "/a/..;/b",
            "/a%25%32%66b",
            "/a%u002f",
            "/a%\u{ff10}0",
            "/a?b",
            "/a%2fb?c",
            "\\a",
            "a/b",
        ] {
            assert_eq!(CanonicalPath::parse(path), Err(Ambiguous), "{path}");
        }
    }

    #[test]
    fn plain_paths_pass_untouched_and_unreserved_escapes_are_decoded() {
        for path in [
            "/", "/a", "/a/", "/a/b.c", "/...", "/a/..b", "/a:b@c,d", "*",
        ] {
            let parsed = CanonicalPath::parse(path).unwrap();
            assert_eq!(parsed.as_str(), path);
            assert!(!parsed.is_rewritten());
        }
        assert_eq!(
            CanonicalPath::parse("/%6frders/%c3%a9%20")
                .unwrap()
                .as_str(),
            "/orders/%C3%A9%20"
        );
        // Not overlong: U+0800, U+10000, and Latin-1.
        for path in ["/%E0%A0%80", "/%F0%90%80%80", "/%E9", "/%E0"] {
            assert_eq!(CanonicalPath::parse(path).unwrap().as_str(), path);
        }
    }

    #[test]
    fn prefixes_match_by_whole_segments() {
        let path = CanonicalPath::parse("/orders/1").unwrap();
        assert!(path.is_below("/orders") && path.is_below("") && path.is_below("/orders/1"));
        assert!(!path.is_below("/order") && !path.is_below("/orders/1/2"));
        let asterisk = CanonicalPath::parse("*").unwrap();
        assert!(asterisk.is_below("") && !asterisk.is_below("/orders"));
    }

    /// A careless upstream: decodes twice, reads `\\` as `/` and `;...` as nothing, then walks the segments.
    fn carelessly_read(path: &str) -> Vec<String> {
        let decode = |text: &[u8]| {
            let (mut out, mut at) = (Vec::new(), 0);
            while at < text.len() {
                let digits = text
                    .get(at + 1..at + 3)
                    .and_then(|two| std::str::from_utf8(two).ok());
                match digits.and_then(|two| u8::from_str_radix(two, 16).ok()) {
                    Some(byte) if text[at] == b'%' => (out.push(byte), at += 3),
                    _ => (out.push(text[at]), at += 1),
                };
            }
            out
        };
        let text = decode(&decode(path.as_bytes()));
        let text = String::from_utf8_lossy(&text).replace('\\', "/");
        let mut walked: Vec<String> = Vec::new();
        for segment in text.split('/').map(|s| s.split(';').next().unwrap_or("")) {
            match segment {
                "" | "." => {}
                ".." => drop(walked.pop()),
                segment => walked.push(segment.to_owned()),
            }
        }
        walked
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]
        #[test]
        fn a_careless_reader_sees_the_same_segments(
            path in "(/|\\\\|;|[.]{1,2}|%2[eEfF5]|%5[cC]|%3[bB]|%25|%[46]1|%c0%a[ef]|[ab]){0,12}",
        ) {
            let path = format!("/{path}");
            if let Ok(parsed) = CanonicalPath::parse(&path) {
                let strict = parsed.as_str().split('/').filter(|segment| !segment.is_empty());
                prop_assert_eq!(carelessly_read(&path), strict.map(str::to_owned).collect::<Vec<_>>());
            }
        }

        #[test]
        fn the_canonical_form_is_its_own_canonical_form(path in "/[ -~]{0,30}") {
            if let Ok(once) = CanonicalPath::parse(&path) {
                let text = once.as_str().to_owned();
                let twice = CanonicalPath::parse(&text).unwrap();
                prop_assert_eq!(twice.as_str(), text.as_str());
            }
        }
    }
}
