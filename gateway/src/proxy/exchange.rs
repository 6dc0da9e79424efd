//! One request, from its head to the head of its answer, whatever protocol it came over.
//!
//! authority → path → route → policy → permit → rewritten fields → upstream.

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;

use http::header::COOKIE;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Response, Uri, Version};
use http_body::Body;
use portcullis_config::UpstreamProtocol;
use rustls_pki_types::UnixTime;
use tokio::time::Duration;

use super::authority::RequestHost;
use super::client::{Caller, Client, View};
use super::headers::{Sender, prepare_request, prepare_response};
use super::response::{AnswerBody, Recorder};
use super::worker::Worker;
use crate::identity::ClientIdentity;
use crate::path::CanonicalPath;
use crate::policy::{Denied, Permit, RequestFacts};
use crate::reason::Reason;
use crate::telemetry::RequestRecord;
use crate::trust::Refused;
use crate::upstream::{RequestBody, Target};

/// How often a request waits for an OCSP answer, where what was learned meanwhile asks for another.
const SETTLE_MAX: usize = 3;

/// What the checks of a request yield.
struct Admitted<'a> {
    caller: &'a Caller,
    permit: Permit,
    target: Arc<Target>,
    /// The path that was decided on, where it differs from the one that was sent.
    rewritten: Option<String>,
}

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
    if parts.version == Version::HTTP_2 {
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
    } = admitted;
    let worker = recorder.worker();
    note(&worker, recorder.record(), (caller, &permit, &target));
    let path = rewritten.as_deref().unwrap_or(parts.uri.path());
    recorder.rest_on(client.rest_on(view, path, caller));
    let told = match caller.headers.tell(client, (view, caller), &target).await {
        Ok(told) => told,
        Err(untold) => {
            recorder.record().request_id = worker.ids.request_id().into();
            return recorder.refuse(untold.reason, Some(&untold.detail));
        }
    };
    let sender = Sender {
        ip: client.facts.client.ip(),
        told: &told,
    };
    let forwarding = &view.snapshot.forwarding;
    let ids = prepare_request(&mut parts, host, &sender, forwarding, &worker.ids);
    if set_target(&mut parts, host, target.settings.protocol, rewritten).is_none() {
        return recorder.refuse(
            Reason::RequestMalformed,
            Some("the target has no form the upstream understands"),
        );
    }
    let record = recorder.record();
    record.request_id = ids.request;
    record.trace_id = ids.trace;
    match worker.upstreams.send(permit, &target, parts, body).await {
        Ok((mut head, body)) => {
            prepare_response(&mut head.headers);
            recorder.answer(head.status, head.headers, body)
        }
        Err(error) => recorder.refuse(error.reason(), Some(&error.to_string())),
    }
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
    record.request_id = worker.ids.request_id().into();
    record.rule = stopped.rule;
    let detail = Some(&*stopped.detail).filter(|detail| !detail.is_empty());
    recorder.refuse(stopped.reason, detail)
}

/// Waits for the OCSP answers that a request wants. What changed meanwhile counts: the view is the one of afterwards.
async fn settled_view(
    worker: &Worker,
    client: &Client,
    request: (&Parts, Option<&RequestHost>),
    body: &RequestBody,
) -> Result<Rc<View>, Stopped> {
    for _ in 0..SETTLE_MAX {
        let view = client.view(worker);
        let Err(Stopped {
            pending: Some(demand),
            ..
        }) = admit(&view, client, request, body)
        else {
            return Ok(view);
        };
        let settled = client.settle(&view, demand).await;
        settled.map_err(|refused| Stopped::from(&refused))?;
    }
    Ok(client.view(worker))
}

/// Every check a request passes before anything is sent anywhere.
fn admit<'a>(
    view: &'a View,
    client: &Client,
    (parts, host): (&Parts, Option<&RequestHost>),
    body: &RequestBody,
) -> Result<Admitted<'a>, Stopped> {
    let refused = Stopped::from;
    if let Some(reason) = client.dismissed_for() {
        return Err(refused(reason)); // Streams that were opened before the GOAWAY reached their client.
    }
    if parts.method == Method::CONNECT {
        return Err(refused(Reason::MethodNotSupported));
    }
    if parts.headers.len() > view.snapshot.limits.headers {
        return Err(refused(Reason::RequestTooLarge));
    }
    if let Some(limit) = view.snapshot.limits.body
        && body.size_hint().lower() > limit
    {
        return Err(refused(Reason::BodyTooLarge));
    }
    let target = parts
        .uri
        .path_and_query()
        .map_or("", |target| target.as_str());
    if target.len() > view.snapshot.limits.target {
        return Err(refused(Reason::RequestTooLarge));
    }
    let host = host.ok_or(refused(Reason::RequestMalformed))?;
    // The host must belong to the site whose handshake this was, seen through the same listener.
    let names = view
        .listener
        .and_then(|index| view.snapshot.rules.listeners[index].names.as_ref());
    let owner = names.and_then(|names| names.site_of(&host.name));
    let site = match view.rules() {
        Some(site) if owner == view.site => site,
        _ => return Err(refused(Reason::Misdirected)),
    };
    let path =
        CanonicalPath::parse(parts.uri.path()).map_err(|_| refused(Reason::PathAmbiguous))?;
    let found = site.routes.find(&path);
    let demand = found.map_or(0, |found| found.demand);
    let caller = view.caller(client, demand)?;
    let now = UnixTime::now().as_secs();
    if caller
        .not_after
        .is_some_and(|end| u64::try_from(end).is_ok_and(|end| end < now))
    {
        return Err(refused(Reason::ClientCertExpired));
    }
    if caller.pending.get() {
        return Err(Stopped {
            pending: Some(demand),
            ..refused(Reason::ClientCertOcspUnavailable)
        });
    }
    let facts = RequestFacts {
        host: &host.name,
        method: parts.method.as_str(),
        path: &path,
        source: client.facts.client.ip(),
        headers: &parts.headers,
    };
    let permit = view.snapshot.rules.policy.decide(&caller.roles, &facts)?;
    // Only who may ask learns that there is nothing.
    let upstream = found.ok_or(refused(Reason::NoRoute))?.upstream;
    let rewritten = path.is_rewritten().then(|| path.as_str().to_owned());
    Ok(Admitted {
        caller,
        permit,
        target: Arc::clone(&view.snapshot.targets[upstream]),
        rewritten,
    })
}

/// A request that goes no further.
struct Stopped {
    reason: Reason,
    /// Name of the deny rule, if one matched.
    rule: Option<Arc<str>>,
    detail: Box<str>,
    /// The demand that first wants an OCSP answer.
    pending: Option<usize>,
}

impl From<Reason> for Stopped {
    fn from(reason: Reason) -> Self {
        Self {
            reason,
            rule: None,
            detail: Box::default(),
            pending: None,
        }
    }
}

impl From<Denied> for Stopped {
    fn from(denied: Denied) -> Self {
        Self {
            rule: denied.rule,
            ..denied.reason.into()
        }
    }
}

impl From<&Refused> for Stopped {
    fn from(refused: &Refused) -> Self {
        Self {
            detail: refused.detail.as_str().into(),
            ..refused.reason.into()
        }
    }
}

fn begin_record(client: &Client, parts: &Parts, host: Option<&RequestHost>) -> Box<RequestRecord> {
    Box::new(RequestRecord {
        connection: Rc::clone(&client.facts),
        identity: None,
        request_id: Box::default(),
        trace_id: Box::default(),
        method: parts.method.clone(),
        host: host.map(|host| host.name.clone()).unwrap_or_default(),
        path: parts.uri.path().into(),
        protocol: match parts.version {
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

/// Gives the request the target form its upstream needs, with the path that was decided on. `None` rather
/// than any other path than that one.
fn set_target(
    parts: &mut Parts,
    host: &RequestHost,
    protocol: UpstreamProtocol,
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
            uri.scheme = Some(http::uri::Scheme::HTTP);
            uri.authority = host.header.to_str().ok().and_then(|host| host.parse().ok());
            parts.version = Version::HTTP_2;
            parts.headers.remove(http::header::HOST); // `:authority` says it.
        }
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
                prop_assert_eq!(set_target(&mut parts, &host, protocol, rewritten), Some(()));
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
