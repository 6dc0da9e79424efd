//! The cookie that brings a client back to its endpoint.

use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue};

/// The value of a cookie; the first, where there are several.
pub(super) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let lines = headers.get_all(COOKIE).iter();
    let pairs = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    pairs
        .filter_map(|pair| {
            let pair = pair.trim_ascii();
            let at = pair.iter().position(|byte| *byte == b'=')?;
            Some((&pair[..at], &pair[at + 1..]))
        })
        .find_map(|(found, value)| (found == name.as_bytes()).then_some(value))
}

/// The endpoint that a client's cookie names; whether there is such a one is another question.
pub(super) fn read(headers: &HeaderMap, name: &str) -> Option<u64> {
    let value = std::str::from_utf8(cookie(headers, name)?).ok()?;
    let digits = value.len() == 16 && value.bytes().all(|byte| byte.is_ascii_hexdigit());
    u64::from_str_radix(value, 16).ok().filter(|_| digits)
}

/// Has the client name this endpoint from now on.
pub(super) fn set(headers: &mut HeaderMap, name: &str, endpoint: u64) {
    let cookie = format!("{name}={endpoint:016x}; Path=/; HttpOnly; Secure; SameSite=Lax");
    // The name was checked with the configuration.
    if let Ok(value) = HeaderValue::try_from(cookie) {
        headers.append(SET_COOKIE, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(cookies: &[&'static str]) -> HeaderMap {
        let lines = cookies.iter();
        lines
            .map(|line| (COOKIE, HeaderValue::from_static(line)))
            .collect()
    }

    #[test]
    fn what_is_no_name_of_an_endpoint_names_none() {
        for value in [
            "s=",
            "s=12",
            "s=+123456789abcdef",
            "s=0123456789abcdeg",
            "s=0123456789abcdef0",
            "t=0123456789abcdef",
            "s",
            "",
            "x; ; =; ss=0123456789abcdef",
        ] {
            assert_eq!(read(&headers(&[value]), "s"), None, "{value}");
        }
    }

    #[test]
    fn a_cookie_is_found_among_others_in_every_line() {
        let name = Some(0x0123_4567_89ab_cdef);
        for lines in [
            vec!["s=0123456789abcdef"],
            vec!["a=b;  s=0123456789ABCDEF ;c=d"],
            vec!["a=b", "c=d; s=0123456789abcdef"],
        ] {
            assert_eq!(read(&headers(&lines), "s"), name, "{lines:?}");
        }
        let mut answer = HeaderMap::new();
        set(&mut answer, "s", 0xabc);
        let set = answer[SET_COOKIE].to_str().unwrap().to_owned();
        assert_eq!(
            set,
            "s=0000000000000abc; Path=/; HttpOnly; Secure; SameSite=Lax"
        );
    }
}
