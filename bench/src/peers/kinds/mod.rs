//! The peers, a file each: how they are set up so that they do the same work.
//!
//! One worker, the same certificate, X25519 and AES by the client's choice, keep-alive to the origin. What
//! they log is said in each file, and in the report.

mod caddy;
mod envoy;
mod haproxy;
mod hitch;
mod nginx;
mod pingora;
mod portcullis;
mod rpxy;
mod sozu;
mod stunnel;

use super::kind::Kind;

/// All of them, in the order in which they are shown.
pub(super) const ALL: [Kind; 10] = [
    portcullis::KIND,
    nginx::KIND,
    haproxy::KIND,
    envoy::KIND,
    caddy::KIND,
    hitch::KIND,
    stunnel::KIND,
    sozu::KIND,
    rpxy::KIND,
    pingora::KIND,
];

/// The kind of this name, or of the name before its first `-`: `nginx-1.31` is an nginx.
pub(super) fn named(name: &str) -> Option<&'static Kind> {
    static KINDS: [Kind; 10] = ALL;
    let exact = KINDS.iter().find(|kind| kind.name == name);
    exact.or_else(|| {
        let (before, _) = name.split_once('-')?;
        KINDS.iter().find(|kind| kind.name == before)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_is_not_known_is_none_and_one_of_another_build_is_known() {
        assert!(named("apache").is_none());
        assert!(named("apache-2.4").is_none());
        assert_eq!(named("nginx-1.31").unwrap().name, "nginx");
        for kind in ALL {
            assert_eq!(named(kind.name).unwrap().name, kind.name);
        }
    }
}
