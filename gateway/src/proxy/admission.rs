//! Every check a request passes before anything is sent anywhere.
//!
//! bounds → host of the site → canonical path → route → the route's demand, met now → policy → permit.

use std::rc::Rc;
use std::sync::Arc;

use http::header::{CONTENT_LENGTH, HeaderValue};
use http::request::Parts;
use http::{Method, Version};
use http_body::Body;
use rustls_pki_types::UnixTime;

use super::authority::RequestHost;
use super::client::{Caller, Client, View};
use super::worker::Worker;
use crate::path::CanonicalPath;
use crate::policy::{Denied, Permit, RequestFacts};
use crate::reason::Reason;
use crate::route::Found;
use crate::trust::Refused;
use crate::upstream::{RequestBody, Target};

/// How often a request waits for an OCSP answer, where what was learned meanwhile asks for another.
pub(super) const SETTLE_MAX: usize = 3;

/// What the checks of a request yield.
pub(super) struct Admitted<'a> {
    pub(super) caller: &'a Caller,
    pub(super) permit: Permit,
    pub(super) target: Arc<Target>,
    /// The path that was decided on, where it differs from the one that was sent.
    pub(super) rewritten: Option<String>,
    /// It came as early data: the upstream is told.
    pub(super) early: bool,
    /// Indices of the rate limits it counts for: those of the site, and of the route.
    pub(super) rates: [&'a [usize]; 2],
}

/// Every check a request passes before anything is sent anywhere.
pub(super) fn admit<'a>(
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
    let body_limit = view.snapshot.limits.body;
    if body_limit.is_some_and(|limit| body.size_hint().lower() > limit) {
        return Err(refused(Reason::BodyTooLarge));
    }
    let target = parts.uri.path_and_query();
    if target.map_or(0, |it| it.as_str().len()) > view.snapshot.limits.target {
        return Err(refused(Reason::RequestTooLarge));
    }
    let host = host.filter(|_| !is_malformed(parts, body));
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
    let early = client.is_replayable();
    if early && !may_be_replayed(found.as_ref(), (parts, body)) {
        return Err(refused(Reason::TooEarly));
    }
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
    let found = found.ok_or(refused(Reason::NoRoute))?;
    let rewritten = path.is_rewritten().then(|| path.as_str().to_owned());
    Ok(Admitted {
        caller,
        permit,
        target: Arc::clone(&view.snapshot.targets[found.upstream]),
        rewritten,
        early,
        rates: [&site.settings.rate_limits, found.rate_limits],
    })
}

/// What the codec of HTTP/1 refuses and h2 lets pass, or notices too late (RFC 9113, sections 8.1.1, 8.2.1 and 8.3.1): white
/// space around a value, an asterisk without OPTIONS, a length and no body.
fn is_malformed(parts: &Parts, body: &RequestBody) -> bool {
    if parts.version != Version::HTTP_2 {
        return false;
    }
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let mut values = parts.headers.values().map(|value| value.as_bytes());
    let missing = |length: &HeaderValue| length != "0";
    values.any(|value| blank(value.first()) || blank(value.last()))
        || matches!(body, RequestBody::Empty)
            && parts.headers.get(CONTENT_LENGTH).is_some_and(missing)
        || parts.uri.path() == "*" && parts.method != Method::OPTIONS
}

/// Whether it does no harm if somebody else sends a request again (RFC 8470, section 4).
fn may_be_replayed(found: Option<&Found<'_>>, (parts, body): (&Parts, &RequestBody)) -> bool {
    let opted_in = found.is_some_and(|found| found.early_data);
    opted_in && parts.method.is_safe() && matches!(body, RequestBody::Empty)
}

/// Waits for the OCSP answers that a request wants. What changed meanwhile counts: the view is the one of afterwards.
pub(super) async fn settled_view(
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

/// A request that goes no further.
pub(super) struct Stopped {
    pub(super) reason: Reason,
    /// Name of the deny rule, if one matched.
    pub(super) rule: Option<Arc<str>>,
    pub(super) detail: Box<str>,
    /// The demand that first wants an OCSP answer.
    pub(super) pending: Option<usize>,
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
