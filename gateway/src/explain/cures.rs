//! What usually is behind a reason, and what to do: one entry for every reason, or this does not compile.

use crate::reason::Reason;

/// Cause and cure of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advice {
    /// What usually is behind it.
    pub cause: &'static str,
    /// What to do.
    pub cure: &'static str,
}

macro_rules! advices {
    ($($reason:ident: $cause:literal, $cure:literal;)*) => {
        /// What is known about a reason beside its meaning.
        pub fn advice(reason: Reason) -> Advice {
            match reason {
                $(Reason::$reason => Advice { cause: $cause, cure: $cure },)*
            }
        }
    };
}

advices! {
    ConnectionLimit: "more clients than planned, clients that leave connections open, or an attack",
        "raise limits.connections (and the file descriptors), shorten timeouts.idle, or add instances";
    HandshakeLimit: "clients that connect all at once, or a token that signs slower than they come",
        "look at portcullis_hsm_waiting; raise limits.handshakes, add sessions or tokens, or add instances";
    ProxySourceNotTrusted: "a client that goes past the balancer, or a balancer whose address is not in the list",
        "add the balancer's address to proxy_protocol.from of the listener; clients that come directly need a listener without proxy_protocol";
    ProxyHeaderMissing: "PROXY protocol is off in the balancer, or its health check opens the port and sends nothing",
        "switch PROXY protocol on in the balancer (send-proxy-v2), also for its health checks, or remove proxy_protocol from the listener";
    ProxyHeaderInvalid: "a balancer that sends UNKNOWN or UNSPEC because it takes connections over a unix socket, or bytes that were changed on the way",
        "read the detail in the refusal log; for health checks have the balancer send LOCAL";
    ProxyHeaderTimeout: "a balancer that waits for its client before it sends the header, or a health check that only opens the port",
        "have the balancer send the header at once; for slow networks raise timeouts.client_hello";
    ClientHelloTimeout: "a port scan, a health check that only opens the port, or a broken network path",
        "point health checks at /livez of admin.bind; for slow networks raise timeouts.client_hello";
    ClientHelloTooLarge: "a client with very many extensions, or bytes that are no TLS",
        "if the client is right, raise limits.client_hello";
    NotTls: "plain HTTP on the TLS port, or PROXY protocol in front of TLS",
        "use https://, a listener with protocol = \"redirect\" for plain HTTP, and proxy_protocol on the listener where the balancer sends it";
    UnknownServerName: "a host that is missing in [[site]].hosts, a client that connects by address, or a stale DNS name",
        "add the host to a site of that listener, or set default_site; strict_sni = false lets unknown names to the default site";
    TlsVersion: "an old client that speaks TLS 1.0 or 1.1 only, or a site with tls.versions = [\"1.3\"]",
        "update the client, or allow \"1.2\" in tls.versions of the site";
    TlsParameters: "a client without the suites, groups or signature schemes of the site, such as RSA only where the key is ECDSA",
        "compare with tls.suites and tls.groups of the site; add a second certificate of the other key kind";
    NoExtendedMasterSecret: "a TLS 1.2 library from before 2015",
        "update the client's TLS library, or have it speak TLS 1.3";
    AlpnMismatch: "an HTTP/2-only client (gRPC) on a site with http2 = false, or a protocol that no route of the site is for",
        "set http2 = true on the site, add a [[site.tcp]] with this alpn, or correct the client's ALPN list";
    HandshakeTimeout: "a slow or stalled client, packet loss, or a token that is slow to sign",
        "look at portcullis_hsm_waiting first; then raise timeouts.handshake";
    HandshakeProtocol: "a broken TLS library, a middlebox, or an attack",
        "read the detail in the refusal log; try the client directly, without what stands between";
    HandshakeTooLarge: "a certificate with thousands of names, or a chain with far too many certificates",
        "issue a smaller certificate; the client is told nothing, for the TLS library gives up without an alert";
    HandshakeAborted: "the client does not trust our certificate, does not find its name in it, or it has expired",
        "check the chain with `portcullis check --live`, and give the client the CA that issued it";
    HandshakeClosed: "a scanner, a client that gave up, or a client that found no certificate it may send",
        "if it is regular traffic, look into the client's log for the reason it closed";
    HsmBusy: "more full handshakes than the token signs in a second, often after a restart of many clients",
        "measure with `portcullis hsm bench`; add sessions, a group of tokens or instances, or raise queue";
    HsmUnavailable: "the token, its network or its library is down, or the PIN is refused",
        "`portcullis hsm status` and /readyz tell the cause; the gateway tries again by itself";
    ClientCertMissing: "the client has no certificate configured, or none of a CA that the site names",
        "give the client its certificate and key; while clients are being equipped use mode = \"accept\"";
    ClientCertExpired: "renewal failed at the client, or an intermediate CA has ended; seldom a wrong clock here",
        "renew the certificate and reload the client; if the chain is old, send the new intermediate";
    ClientCertNotYetValid: "the client's or the CA's clock is ahead of the gateway's, or the certificate was made for later",
        "check the clock of the gateway and of the CA; issue with notBefore some minutes in the past";
    ClientCertUnknownCa: "the issuer is not in the bundle, or the client does not send its intermediates",
        "add the CA to anchors of the trust bundle, or have the client send leaf and intermediates";
    ClientCertSelfSigned: "a test certificate, or one that was never sent to the CA",
        "have it issued by a CA of the bundle";
    ClientCertIssuerNotCa: "an intermediate was made without CA:TRUE, or a leaf was used to sign",
        "issue the intermediate again with basicConstraints CA:TRUE and keyCertSign";
    ClientCertIsCa: "the client was given the CA's certificate instead of its own",
        "give the client a certificate with CA:FALSE, and take the CA's key away from it";
    ClientCertPathLength: "a CA with pathlen:0 issued another CA",
        "issue from the CA that is allowed to, or renew the upper CA with a larger pathlen";
    ClientCertTooDeep: "needless intermediates or cross-certificates in the chain, or a low max_depth",
        "add a CA that is nearer to the client to anchors, or raise max_depth (at most 6)";
    ClientCertNameConstraint: "a CA issued for a name outside of what it may certify",
        "issue from a CA that may certify the name, or widen the constraint of the CA";
    ClientCertWrongEku: "a server certificate is used as client certificate, or eku = \"required\" and there is none",
        "issue with extendedKeyUsage clientAuth; eku = \"waived\" in the bundle lets any pass";
    ClientCertWeakKey: "an old key, or bounds of the bundle (min_rsa_bits, min_ec_bits) above it",
        "make a new key of the client (P-256, or RSA of 3072 bits) and have it certified";
    ClientCertWeakSignature: "the CA signs with SHA-1 or another old algorithm",
        "have the CA sign with SHA-256 or better, and issue the certificate again";
    ClientCertBadSignature: "a CA of the same name has another key (renewed, rebuilt), or the certificate was forged",
        "add the CA's present certificate to anchors; if no CA was renewed, treat it as an attack";
    ClientCertMalformed: "a certificate of a home-made tool, truncated bytes, or an unknown critical extension",
        "look at it with `openssl x509 -text`, and issue it again without what is reported";
    ClientCertNotProven: "certificate and key of the client do not belong together, or somebody copied the certificate",
        "install the pair again; if the client is not yours, treat it as an attack";
    ClientCertRevokedCrl: "the CA revoked it: lost key, retired workload, or a CA above it was revoked",
        "have a new certificate issued with a new key; the serial and the list are in the detail";
    ClientCertRevokedOcsp: "the CA revoked it, and its responder says so",
        "have a new certificate issued with a new key";
    ClientCertCrlStale: "the CA does not publish, the address is out of reach, or the file is not updated",
        "look at portcullis_crl_next_update_seconds and the process log; publish a new list; stale = \"6h\" gives time";
    ClientCertCrlMissing: "no list of that issuer is configured, it is of another scope, or it could not be fetched yet",
        "add the issuer's list to files or urls of [trust.NAME.crl], or set scope = \"leaf\"";
    ClientCertOcspUnknown: "the responder belongs to another CA, or its data are behind",
        "check the responder address in the bundle or the certificate; ask the CA to load the serial";
    ClientCertOcspUnavailable: "the responder is down, slow, out of reach, or signs with a certificate that is not good",
        "try the address with `openssl ocsp`; raise deadline, or use mode = \"soft\" if that is acceptable";
    ClientCertConstraintForm: "a CA limits URIs, mail addresses or directory names, which cannot be decided here",
        "use trust_domains in the bundle instead, and a CA without constraints of that form";
    ClientCertLifetime: "the CA issues for longer than the bundle's max_lifetime",
        "issue shorter certificates; max_lifetime_action = \"report\" lets them in and reports them";
    ClientCertNotPinned: "the CA or the client's key was renewed, and the pins were not",
        "add the new key's hash to spki_pins before the old one ends";
    ClientCertTrustDomain: "the certificate is of another SPIFFE trust domain, or has no or several URIs",
        "add the domain to trust_domains, or issue an X.509-SVID of the right one";
    ClientCertDenied: "an entry of [deny] or of `portcullis deny add` is about it",
        "`portcullis deny list` shows what was added; remove it there or in the configuration";
    RequestMalformed: "a broken client or proxy, or an attempt to smuggle a request",
        "read the detail in the refusal log; correct the client";
    RequestTooLarge: "large cookies or tokens, or very long queries",
        "shrink them, or raise limits.header_bytes, limits.headers or limits.target";
    RequestTimeout: "a slow or stalled client, or packet loss",
        "raise timeouts.header or timeouts.body if such clients are legitimate";
    TooEarly: "a client that sends more than safe requests to opted-in routes before its handshake is complete",
        "nothing: clients send the request again; `early_data = true` on the route lets safe methods through";
    Http2Protocol: "a broken HTTP/2 library at the client, or a probe",
        "read the detail in the refusal log; update the client's HTTP/2 library";
    Http2Flood: "an attack (rapid reset, floods of PING, SETTINGS or empty frames), or a client that cancels nearly all it asks",
        "refuse the source or the client (deny list, firewall); a client that cancels much should ask less";
    AnswerUnread: "a client that asks and does not read, or a path that has died",
        "raise timeouts.write if so slow a client is legitimate; else nothing, the connection is cut";
    BodyTooLarge: "an upload beyond limits.body",
        "raise limits.body, or upload in parts";
    MethodNotSupported: "a client that takes the gateway for a forward proxy",
        "remove the gateway from the client's proxy settings";
    ExpectationNotSupported: "a client that sends an Expect header other than 100-continue",
        "remove the header at the client";
    PathAmbiguous: "encoded slashes, dot segments or double slashes in the client's URLs, or an attempt to slip past a rule",
        "send a plain path; put such values into the query instead";
    Misdirected: "a browser or proxy reuses a connection of another site (HTTP/2 coalescing), or Host differs from SNI",
        "nothing for browsers, which connect again; other clients must connect with the host's name";
    ClientCertRequired: "the path needs a certificate, and the client came without, which its site allows",
        "give the client a certificate, or relax client_cert of the route";
    NotAuthorized: "a role lacks the identity, or a rule lacks the host, method or path",
        "`portcullis explain --cert FILE --path PATH` names the part that does not match; add a rule or a pattern";
    DeniedByRule: "a rule with action = \"deny\" is about the request, and deny wins",
        "the access log and `portcullis explain` name the rule; narrow it with not_roles or not_paths";
    NoRoute: "the path is allowed, but no [[site.route]] is above it",
        "add a route, or path = \"/\" for everything else";
    IdentityNotSigned: "the token with the key of [forwarding.jwt] is down or slow",
        "`portcullis hsm status` tells the cause; spread keys over tokens or use a group";
    RateLimited: "a caller, or all of them, ask more often than rate allows; the detail names the limit",
        "have the caller slow down as Retry-After says, or raise rate or burst of the limit";
    RateLimitUnavailable: "the Redis of the limit does not answer in time",
        "look into Redis (portcullis_redis_up), or choose when_away = \"local\"";
    UpstreamTls: "the detail names the check that failed, or the alert that the service sent",
        "renew the service's certificate, correct trust, server_name or spiffe_ids of its tls, or give it a certificate the service believes";
    UpstreamConnect: "the service is down, its address is wrong, or a firewall is between",
        "`portcullis check --live` connects to every endpoint";
    UpstreamBusy: "the service is slower than requests come",
        "raise connections or pending of the upstream, or add endpoints";
    UpstreamTimeout: "the service takes longer than response_timeout",
        "look into the service; raise response_timeout of the upstream";
    UpstreamProtocol: "the service does not speak what protocol says, or sends broken HTTP",
        "compare protocol (http1, h2) with what the service speaks; the detail names the defect";
    TunnelIdle: "client or service went away without a close, or they send no pings",
        "have one side send pings (of WebSocket, MQTT, the database's own keep-alive), or raise timeouts.tunnel";
    ProxyHeaderTooLong: "a client certificate with a very long subject or SPIFFE ID",
        "issue a certificate with shorter names, or leave tls_info of the upstream out";
    UpstreamClosed: "the service restarted, or closes idle connections sooner than the gateway",
        "set idle_timeout of the upstream below the service's keep-alive time";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_cause_and_a_cure_of_its_own() {
        let mut seen = std::collections::HashSet::new();
        for reason in Reason::ALL {
            let Advice { cause, cure } = advice(*reason);
            assert!(cause.len() > 20 && cure.len() > 20, "{reason}");
            assert!(seen.insert(cause) && seen.insert(cure), "{reason}");
            for text in [cause, cure] {
                assert!(!text.ends_with('.'), "{reason}: {text}");
            }
        }
    }

    #[test]
    fn every_key_that_a_cure_names_is_in_the_shipped_configuration() {
        let shipped = include_str!("../../../config/portcullis.toml");
        for reason in Reason::ALL {
            let Advice { cause, cure } = advice(*reason);
            let words = cause.split_whitespace().chain(cure.split_whitespace());
            for word in words.map(|word| word.trim_matches([',', ';', '(', ')'])) {
                let key = ["limits.", "timeouts."];
                let key = key.iter().find_map(|table| word.strip_prefix(table));
                let Some(key) = key else { continue };
                assert!(
                    shipped.contains(&format!("\n#{key} = ")),
                    "{reason}: {word}"
                );
            }
        }
    }
}
