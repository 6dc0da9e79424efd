//! One request, from its head to the head of its answer, whatever protocol it came over.
//!
//! authority → path → route → policy → permit → rewritten fields → upstream.

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;

use http::header::{COOKIE, RETRY_AFTER};
use http::request::Parts;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Uri, Version};
use portcullis_config::UpstreamProtocol;
use tokio::time::Duration;

use super::admission::{Admitted, Stopped, admit, settled_view};
use super::authority::RequestHost;
use super::client::{Caller, Client, View};
use super::headers::{Sender, prepare_request, prepare_response};
use super::response::{AnswerBody, Recorder};
use super::upgrade::{Asked, pass_on};
use super::worker::Worker;
use crate::identity::ClientIdentity;
use crate::policy::Permit;
use crate::rates::{RateLimit, Stopped as Stop};
use crate::reason::Reason;
use crate::telemetry::RequestRecord;
use crate::upstream::{RequestBody, Target};

/// RFC 8470, section 5.1.
const EARLY_DATA: HeaderName = HeaderName::from_static("early-data");

/// Answers a request. Never fails: what goes wrong becomes a bare status with a recorded reason.
pub(super) async fn answer(
    worker: &Rc<Worker>,
    client: &Client,
    parts: Parts,
    body: RequestBody,
) -> Response<AnswerBody> {
    let host = RequestHost::of(&parts);
    let mut recorder = Recorder::new(
        Rc::clone(worker),
        begin_record(client, &parts, host.as_ref()),
        client.open_request(),
    );
    if matches!(parts.version, Version::HTTP_2 | Version::HTTP_3) {
        recorder.watch(client.send_clock());
    }
    let request = (&parts, host.as_ref());
    let (first, settled) = (client.view(worker), OnceCell::new());
    let (view, admitted) = match admit(&first, client, request, &body) {
        // Boxed: only the first request of a client to a route with a bundle of its own waits here.
        Err(Stopped {
            pending: Some(_), ..
        }) => match Box::pin(settled_view(worker, client, request, &body)).await {
            Ok(view) => {
                let view = settled.get_or_init(|| view);
                (view, admit(view, client, request, &body))
            }
            Err(stopped) => return stop(worker, recorder, stopped),
        },
        decided => (&first, decided),
    };
    match (admitted, host) {
        (Ok(admitted), Some(host)) => {
            let client = (client, &host, &**view);
            forward(client, admitted, recorder, (parts, body)).await
        }
        (Err(stopped), _) => stop(worker, recorder, stopped),
        // Whoever was admitted named a host.
        (Ok(_), None) => stop(worker, recorder, Reason::RequestMalformed.into()),
    }
}

/// Sends an admitted request on.
async fn forward(
    (client, host, view): (&Client, &RequestHost, &View),
    admitted: Admitted<'_>,
    mut recorder: Recorder,
    (mut parts, body): (Parts, RequestBody),
) -> Response<AnswerBody> {
    let Admitted {
        caller,
        permit,
        target,
        rewritten,
        early,
        rates,
    } = admitted;
    let worker = recorder.worker();
    note(&worker, recorder.record(), (caller, &permit, &target));
    if rates.iter().any(|rates| !rates.is_empty()) {
        // Boxed: few sites have limits, and a request must not carry the room for the wait.
        let stopped = Box::pin(count(view, client, (caller, rates))).await;
        if let Err((limit, stopped)) = stopped {
            recorder.record().request_id = worker.ids.request_id();
            return too_fast(recorder, &limit, stopped);
        }
    }
    let path = rewritten.as_deref().unwrap_or(parts.uri.path());
    recorder.rest_on(client.rest_on(view, path, caller));
    let told = match caller.headers.tell(client, (view, caller), &target).await {
        Ok(told) => told,
        Err(untold) => {
            recorder.record().request_id = worker.ids.request_id();
            return recorder.refuse(untold.reason, Some(&untold.detail));
        }
    };
    let sender = Sender {
        ip: client.facts.client.ip(),
        address: client.facts.client_address(),
        secure: !matches!(client.facts.identity, ClientIdentity::Local),
        told: &told,
    };
    let forwarding = &view.snapshot.forwarding;
    // What comes early may come again; an upstream over HTTP/2 has no Upgrade.
    let asked = match (early, target.settings.protocol) {
        (false, UpstreamProtocol::Http1) => Asked::of(&parts, host, &body),
        _ => None,
    };
    let ids = prepare_request(&mut parts, host, &sender, forwarding, &worker.ids);
    if set_target(&mut parts, host, spoken_to(&target), rewritten).is_none() {
        return recorder.refuse(
            Reason::RequestMalformed,
            Some("the target has no form the upstream understands"),
        );
    }
    if asked.is_some() {
        pass_on(&mut parts.headers);
    }
    recorder.ask(asked);
    if early {
        parts
            .headers
            .insert(EARLY_DATA, HeaderValue::from_static("1"));
    }
    let record = recorder.record();
    record.request_id = ids.request;
    record.traceparent = ids.traceparent;
    let ask = target.ask(&parts.headers, &caller.identity);
    let request = (parts, body);
    match worker.upstreams.send(permit, &target, ask, request).await {
        Ok((mut head, body)) => {
            prepare_response(&mut head.headers);
            if head.status == StatusCode::SWITCHING_PROTOCOLS {
                pass_on(&mut head.headers);
            }
            recorder.answer(head.status, head.headers, body)
        }
        Err(error) => recorder.refuse(error.reason(), Some(&error.to_string())),
    }
}

/// Counts a request for each limit that its site and its route name.
async fn count(
    view: &View,
    client: &Client,
    (caller, rates): (&Caller, [&[usize]; 2]),
) -> Result<(), (Arc<RateLimit>, Stop)> {
    let source = client.facts.client.ip();
    for at in rates.concat() {
        let limit = &view.snapshot.rates[at];
        let counted = limit.count(source, &caller.identity).await;
        counted.map_err(|stopped| (Arc::clone(limit), stopped))?;
    }
    Ok(())
}

/// Answers a request that exceeds a limit: when to come again is all it says.
fn too_fast(recorder: Recorder, limit: &RateLimit, stopped: Stop) -> Response<AnswerBody> {
    let (reason, wait) = match stopped {
        Stop::TooFast(wait) => (Reason::RateLimited, wait),
        Stop::Unknown => (Reason::RateLimitUnavailable, Duration::from_secs(1)),
    };
    let mut response = recorder.refuse(reason, Some(limit.name()));
    // Whole seconds (RFC 9110, section 10.2.3), and not so few that the answer is the same again.
    let seconds = wait.as_millis().div_ceil(1000).max(1);
    if let Ok(seconds) = HeaderValue::try_from(seconds.to_string()) {
        response.headers_mut().insert(RETRY_AFTER, seconds);
    }
    response
}

/// Tells the record what was decided.
fn note(
    worker: &Worker,
    record: &mut RequestRecord,
    (caller, permit, target): (&Caller, &Permit, &Target),
) {
    record.rule = Some(Arc::clone(permit.rule()));
    record.shadows = permit.shadows().to_vec();
    for rule in permit.shadows() {
        worker.shared.metrics.shadow_denied(rule);
    }
    record.upstream = Some(Arc::clone(&target.name));
    // A route may have verified what the handshake did not.
    if let ClientIdentity::Unverified(_) = record.connection.identity {
        record.identity = Some(caller.identity.clone());
    }
}

/// Answers a request that goes no further.
fn stop(worker: &Worker, mut recorder: Recorder, stopped: Stopped) -> Response<AnswerBody> {
    let record = recorder.record();
    record.request_id = worker.ids.request_id();
    record.rule = stopped.rule;
    let detail = Some(&*stopped.detail).filter(|detail| !detail.is_empty());
    recorder.refuse(stopped.reason, detail)
}

fn begin_record(client: &Client, parts: &Parts, host: Option<&RequestHost>) -> Box<RequestRecord> {
    Box::new(RequestRecord {
        connection: Rc::clone(&client.facts),
        identity: None,
        request_id: HeaderValue::from_static(""),
        traceparent: HeaderValue::from_static(""),
        method: parts.method.clone(),
        host: host.map(|host| host.name.clone()).unwrap_or_default(),
        path: parts.uri.path().into(),
        protocol: match parts.version {
            Version::HTTP_3 => "3",
            Version::HTTP_2 => "2",
            Version::HTTP_10 => "1.0",
            _ => "1.1",
        },
        status: 0,
        response_bytes: 0,
        rule: None,
        shadows: Vec::new(),
        upstream: None,
        reason: None,
        complete: false,
        duration: Duration::ZERO,
    })
}

/// What an upstream is spoken to in.
fn spoken_to(target: &Target) -> (UpstreamProtocol, Scheme) {
    let scheme = match target.tls {
        Some(_) => Scheme::HTTPS,
        None => Scheme::HTTP,
    };
    (target.settings.protocol, scheme)
}

/// Gives the request the target form its upstream needs, with the path that was decided on. `None` rather
/// than any other path than that one.
fn set_target(
    parts: &mut Parts,
    host: &RequestHost,
    (protocol, scheme): (UpstreamProtocol, Scheme),
    rewritten: Option<String>,
) -> Option<()> {
    let mut uri = std::mem::take(&mut parts.uri).into_parts();
    if let Some(path) = rewritten {
        let query = uri.path_and_query.as_ref().and_then(PathAndQuery::query);
        let text = query.map_or(path.clone(), |query| format!("{path}?{query}"));
        uri.path_and_query = Some(PathAndQuery::try_from(text).ok()?);
    }
    match protocol {
        UpstreamProtocol::Http1 => {
            uri.scheme = None;
            uri.authority = None;
            parts.version = Version::HTTP_11;
            join_cookies(&mut parts.headers);
        }
        UpstreamProtocol::Http2 => {
            uri.scheme = Some(scheme);
            uri.authority = host.header.to_str().ok().and_then(|host| host.parse().ok());
            parts.version = Version::HTTP_2;
            parts.headers.remove(http::header::HOST); // `:authority` says it.
        }
        UpstreamProtocol::Tcp => return None, // No route leads there.
    }
    parts.uri = Uri::from_parts(uri).ok()?;
    Some(())
}

/// HTTP/2 clients may send Cookie in pieces; HTTP/1.1 knows one line (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let pieces: Vec<&[u8]> = headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if pieces.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&pieces.join(&b"; "[..]))
    {
        headers.insert(COOKIE, joined);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::path::CanonicalPath;

    /// Paths made of what stacks read differently, and of what they do not.
    fn target() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            4 => "[a-z0-9]{1,3}",
            3 => Just("/".to_owned()),
            1 => "%[0-9a-fA-F]{2}",
            1 => proptest::sample::select(vec![
                ".", "..", "%2e", "%2E%2e", "%2f", "%5c", ";", "%3b", "%25", "%c0%ae", "%e0%80%af",
                "%41", "%7e", "%C3%a9", "%00", "%20", "!$&'()*+,=:@", "*",
            ]).prop_map(str::to_owned),
        ];
        let path = proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat());
        let query = proptest::option::of("[?][a-z%=./;]{0,8}");
        let origin = proptest::sample::select(vec!["", "https://a.test"]);
        (origin, path, query).prop_map(|(origin, path, query)| {
            format!("{origin}/{path}{}", query.unwrap_or_default())
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]
        #[test]
        fn the_upstream_gets_the_path_that_was_decided_on(target in target()) {
            let Ok(uri) = target.parse::<Uri>() else { return Ok(()) };
            let Ok(decided) = CanonicalPath::parse(uri.path()) else { return Ok(()) };
            let query = uri.query().map(str::to_owned);
            for protocol in [UpstreamProtocol::Http1, UpstreamProtocol::Http2] {
                let request = http::Request::builder().uri(uri.clone()).header("host", "a.test");
                let (mut parts, ()) = request.body(()).unwrap().into_parts();
                let host = RequestHost::of(&parts).unwrap();
                let rewritten = decided.is_rewritten().then(|| decided.as_str().to_owned());
                let spoken = (protocol, Scheme::HTTP);
                prop_assert_eq!(set_target(&mut parts, &host, spoken, rewritten), Some(()));
                // What both protocols write: the request line takes it as it is, and so does `:path`.
                let sent = parts.uri.path_and_query().unwrap().as_str();
                let expected = match &query {
                    Some(query) => format!("{}?{query}", decided.as_str()),
                    None => decided.as_str().to_owned(),
                };
                prop_assert_eq!(sent, expected);
                // It reads the same to whoever decides on it next.
                let again = CanonicalPath::parse(parts.uri.path()).unwrap();
                prop_assert_eq!(again.as_str(), decided.as_str());
                prop_assert!(!again.as_str().contains("//") && !again.as_str().contains("/../"));
            }
        }
    }
}
