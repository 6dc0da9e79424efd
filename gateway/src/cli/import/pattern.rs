//! Paths, hosts, methods and address blocks of Istio in our words. Nothing here says more than its [`Bound`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::who::{Bound, Translated};

/// The pattern for everything, in the words of the field.
pub(super) const EVERY_PATH: &str = "/**";
/// The same for hosts.
pub(super) const EVERY_HOST: &str = "*";

/// A `paths` entry: exact, `prefix*`, `*suffix`, `*`, or a template with `{*}` and `{**}`.
pub(super) fn path(text: &str, bound: Bound) -> Translated<String> {
    let all = || EVERY_PATH.to_owned();
    let unsayable = || match bound {
        Bound::AtMost => Translated::lost(None),
        Bound::AtLeast => Translated::lost(Some(all())),
    };
    if text == "*" || text == "/*" || text == "/{**}" {
        return Translated::exact(all());
    }
    if text.contains('{') {
        return template(text).unwrap_or_else(unsayable);
    }
    let Some(prefix) = text.strip_suffix('*') else {
        return match is_path(text) {
            true => Translated::exact(text.to_owned()),
            false => unsayable(),
        };
    };
    if let Some(parent) = prefix.strip_suffix('/') {
        return match is_path(parent) {
            true => below(parent),
            false => unsayable(),
        };
    }
    // A prefix that ends inside a segment.
    match bound {
        Bound::AtMost if is_path(prefix) => Translated {
            patterns: vec![prefix.to_owned(), format!("{prefix}/**")],
            exact: false,
        },
        Bound::AtLeast => match prefix.rsplit_once('/') {
            Some((parent, _)) if parent.is_empty() || is_path(parent) => {
                Translated::lost(Some(format!("{parent}/**")))
            }
            _ => unsayable(),
        },
        Bound::AtMost => unsayable(),
    }
}

/// What begins with `parent/`, which is not `parent` itself.
fn below(parent: &str) -> Translated<String> {
    Translated {
        patterns: vec![format!("{parent}/"), format!("{parent}/*/**")],
        exact: true,
    }
}

/// `/a/{*}/b`, `/a/{**}`.
fn template(text: &str) -> Option<Translated<String>> {
    let (fixed, open_end) = match text.strip_suffix("/{**}") {
        Some(fixed) => (fixed, true),
        None => (text, false),
    };
    let ours = fixed.replace("{*}", "*");
    let segments = ours.strip_prefix('/')?.split('/');
    let plain = segments
        .clone()
        .all(|segment| segment == "*" || !segment.contains(['*', '{', '}']));
    if !plain || !is_path(&ours.replace('*', "x")) {
        return None;
    }
    Some(match open_end {
        true => below(&ours),
        false => Translated::exact(ours),
    })
}

/// Whether a rule of ours can have this path; canonical requests have no other.
fn is_path(text: &str) -> bool {
    let inner = text.strip_prefix('/').unwrap_or("//");
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    text == "/"
        || (inner
            .split('/')
            .all(|segment| !matches!(segment, "" | "." | ".."))
            && text
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !b"%;\\?#*{}".contains(&byte)))
}

/// A `hosts` entry. Ports are taken off: hosts are compared without.
pub(super) fn host(text: &str, bound: Bound) -> Translated<String> {
    let lower = text.to_ascii_lowercase();
    let (name, port) = lower.split_once(':').unwrap_or((&lower, ""));
    let port_is_plain = port == "*" || port.bytes().all(|byte| byte.is_ascii_digit());
    let all = || EVERY_HOST.to_owned();
    match (name, bound) {
        ("*", _) => Translated::exact(all()),
        (name, _) if port_is_plain && is_host(name) => Translated {
            patterns: vec![name.to_owned()],
            exact: true,
        },
        (_, Bound::AtLeast) => Translated::lost(Some(all())),
        // `*.example.com` is any number of labels there and one label here.
        (name, Bound::AtMost) => {
            let suffix = name
                .strip_prefix("*.")
                .filter(|suffix| port_is_plain && is_host(suffix));
            let ours = suffix.filter(|suffix| suffix.contains('.'));
            Translated::lost(ours.map(|suffix| format!("*.{suffix}")))
        }
    }
}

fn is_host(name: &str) -> bool {
    let label = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        (1..=63).contains(&label.len())
            && label.bytes().all(plain)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// A `methods` entry. Empty text stands for every method.
pub(super) fn method(text: &str, bound: Bound) -> Translated<String> {
    let plain =
        |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    match text {
        "*" => Translated::exact(String::new()),
        text if (1..=32).contains(&text.len()) && text.bytes().all(plain) => {
            Translated::exact(text.to_owned())
        }
        _ if bound == Bound::AtLeast => Translated::lost(Some(String::new())),
        _ => Translated::lost(None),
    }
}

/// An `ipBlocks` entry in the form a rule takes, bits behind the prefix cut off; none where it is no block.
pub(super) fn block(text: &str) -> Option<(IpAddr, u8)> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix.parse::<u8>().ok()?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let prefix = prefix.unwrap_or(bits);
    if prefix > bits || address != address.to_canonical() {
        return None;
    }
    Some((network(address, prefix), prefix))
}

/// The address with the bits behind the prefix cut off.
pub(super) fn network(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let behind = u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
            Ipv4Addr::from(u32::from(address) & !behind).into()
        }
        IpAddr::V6(address) => {
            let behind = u128::MAX.checked_shr(prefix.into()).unwrap_or(0);
            Ipv6Addr::from(u128::from(address) & !behind).into()
        }
    }
}

/// Address blocks in both lists: of two that overlap the smaller.
pub(super) fn blocks_in_both(a: &[(IpAddr, u8)], b: &[(IpAddr, u8)]) -> Vec<(IpAddr, u8)> {
    let both = |a: &(IpAddr, u8), b: &(IpAddr, u8)| {
        let (small, large) = if a.1 >= b.1 { (a, b) } else { (b, a) };
        let inside = small.0.is_ipv4() == large.0.is_ipv4() && network(small.0, large.1) == large.0;
        inside.then_some(*small)
    };
    let mut blocks: Vec<_> = a
        .iter()
        .flat_map(|a| b.iter().filter_map(move |b| both(a, b)))
        .collect();
    blocks.sort_unstable();
    blocks.dedup();
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_said_of_a_path_errs_to_the_safe_side() {
        let at_most = |text| path(text, Bound::AtMost);
        let at_least = |text| path(text, Bound::AtLeast);
        for (text, less, more) in [
            ("*.txt", &[][..], &["/**"][..]),
            ("/a*", &["/a", "/a/**"], &["/**"]),
            ("/a/v1*", &["/a/v1", "/a/v1/**"], &["/a/**"]),
            ("/a%20b", &[], &["/**"]),
            ("/a/{**}/b", &[], &["/**"]),
            ("/a{*}", &[], &["/**"]),
            ("/a/../b*", &[], &["/**"]),
        ] {
            assert_eq!(at_most(text).patterns, less, "{text}");
            assert_eq!(at_least(text).patterns, more, "{text}");
            assert!(!at_most(text).exact && !at_least(text).exact);
        }
        for (text, same) in [
            ("/", &["/"][..]),
            ("/a/", &["/a/"]),
            ("*", &["/**"]),
            ("/a/*", &["/a/", "/a/*/**"]),
            ("/a/{*}/b", &["/a/*/b"]),
            ("/a/{**}", &["/a/", "/a/*/**"]),
            ("/{*}/{**}", &["/*/", "/*/*/**"]),
        ] {
            assert_eq!(at_most(text).patterns, same, "{text}");
            assert_eq!(at_least(text), at_most(text));
            assert!(at_most(text).exact);
        }
    }

    #[test]
    fn what_cannot_be_said_of_a_host_errs_to_the_safe_side() {
        for (text, less, more) in [
            ("*.example.com", &["*.example.com"][..], &["*"][..]),
            ("*example.com", &[], &["*"]),
            ("api.*", &[], &["*"]),
            ("*.com", &[], &["*"]),
            ("a b", &[], &["*"]),
        ] {
            assert_eq!(host(text, Bound::AtMost).patterns, less, "{text}");
            assert_eq!(host(text, Bound::AtLeast).patterns, more, "{text}");
        }
        for text in [
            "API.example.com",
            "api.example.com:*",
            "api.example.com:8443",
        ] {
            let both = [host(text, Bound::AtMost), host(text, Bound::AtLeast)];
            assert!(
                both.iter()
                    .all(|host| host.exact && host.patterns == ["api.example.com"])
            );
        }
    }

    #[test]
    fn blocks_are_cut_to_their_prefix_and_intersected() {
        let block = |text| block(text).unwrap();
        assert_eq!(block("10.1.2.3/8"), ("10.0.0.0".parse().unwrap(), 8));
        assert_eq!(block("192.0.2.1"), ("192.0.2.1".parse().unwrap(), 32));
        let (a, b) = (block("10.0.0.0/8"), block("10.1.0.0/16"));
        assert_eq!(
            blocks_in_both(&[a], &[b, block("11.0.0.0/8"), block("::/0")]),
            [b]
        );
        for text in ["10.0.0.0/33", "x", "::ffff:1.2.3.4", "1.2.3.4/-1"] {
            assert_eq!(super::block(text), None, "{text}");
        }
    }
}
