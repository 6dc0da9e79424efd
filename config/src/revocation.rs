//! `[trust.NAME.crl]` and `[trust.NAME.ocsp]`: where it is asked whether a client certificate was revoked.
//!
//! Both are served over plain http: what they say is signed, and a TLS server whose own certificate must be
//! checked for revocation would ask for itself (RFC 5280, section 8).
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::Located;
use crate::check::{Check, Span};
use crate::schema::one_or_many;
use crate::value::{DurationText, Number, SizeText, parse_duration, quoted};

/// `[trust.NAME.crl]`: certificate revocation lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrlSettings {
    /// Files, or folders of files, PEM or DER, as written.
    pub files: Vec<Located<PathBuf>>,
    /// Where lists are fetched, `http://` only.
    pub urls: Vec<String>,
    /// Whether the distribution points in verified certificates are fetched too. Default false.
    pub cdp: bool,
    /// What happens past nextUpdate. Default [`StalePolicy::Hard`].
    pub stale: StalePolicy,
    /// How often URLs are asked at least; earlier when nextUpdate comes earlier. Default 1h.
    pub refresh: Duration,
    /// How often files are looked at. Default 10s.
    pub check: Duration,
    /// Which certificates of a chain are looked up. Default [`CrlScope::Chain`].
    pub scope: CrlScope,
    /// The largest list that is read, in bytes. Default 64 MiB.
    pub max_size: u64,
    /// How long one fetch may take. Default 10s.
    pub timeout: Duration,
}

/// What becomes of a certificate whose lists are all past their nextUpdate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StalePolicy {
    /// It is refused.
    Hard,
    /// It passes for this long after nextUpdate.
    Grace(Duration),
    /// It passes and is counted; so is one for which there is no list at all.
    Soft,
}

/// Which certificates of a chain are looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CrlScope {
    /// Every certificate below the trust anchor.
    Chain,
    /// The client's own certificate only.
    Leaf,
}

/// `[trust.NAME.ocsp]`: the Online Certificate Status Protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OcspSettings {
    /// What an absent answer means.
    pub mode: OcspMode,
    /// Who is asked, `http://` only; `None` leaves it to the certificate (authority information access).
    pub responder: Option<String>,
    /// How long a client waits for an answer at most. Default 2s.
    pub deadline: Duration,
    /// Whether answers must echo a nonce. Default false: most responders sign in advance.
    pub nonce: bool,
    /// An answer is asked for again after this long at the latest. Default 1h.
    pub refresh: Duration,
    /// Certificates that are remembered. Default 10000.
    pub entries: usize,
}

/// What an absent OCSP answer means. "Revoked" is refused by all but `Off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OcspMode {
    /// Nobody is asked.
    Off,
    /// Without an answer, or with "unknown", the certificate passes and is counted.
    Soft,
    /// Only "good" passes.
    Hard,
}

impl StalePolicy {
    /// How it is written in the file.
    pub fn text(self) -> String {
        match self {
            StalePolicy::Hard => "hard".to_owned(),
            StalePolicy::Grace(grace) => crate::value::duration_text(grace),
            StalePolicy::Soft => "soft".to_owned(),
        }
    }
}

impl CrlScope {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            CrlScope::Chain => "chain",
            CrlScope::Leaf => "leaf",
        }
    }
}

impl OcspMode {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            OcspMode::Off => "off",
            OcspMode::Soft => "soft",
            OcspMode::Hard => "hard",
        }
    }
}

/// `[trust.NAME.crl]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawCrl {
    /// Files, or folders of files, with revocation lists, PEM or DER. One that is missing, empty or broken
    /// refuses the start and the reload.
    #[schemars(schema_with = "one_or_many::<String>")]
    files: Option<Vec<Located<String>>>,
    /// `http://` addresses of revocation lists, fetched ahead of their nextUpdate.
    #[schemars(schema_with = "one_or_many::<String>")]
    urls: Option<Vec<Located<String>>>,
    /// Fetch the lists that verified certificates name (CRL distribution points, freshest CRL).
    cdp: Option<bool>,
    /// Past nextUpdate: `hard` refuses, a duration such as `6h` passes for that long, `soft` passes and
    /// counts, and passes certificates for which there is no list too.
    stale: Option<Located<DurationText>>,
    /// How often addresses are asked at least.
    refresh: Option<Located<DurationText>>,
    /// How often files are looked at for changes.
    check: Option<Located<DurationText>>,
    /// `chain`: every certificate below the anchor is looked up; `leaf`: the client's own only.
    scope: Option<Located<CrlScope>>,
    /// The largest list that is read.
    max_size: Option<Located<SizeText>>,
    /// How long one fetch may take.
    timeout: Option<Located<DurationText>>,
}

/// `[trust.NAME.ocsp]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawOcsp {
    /// `off`, `soft` (no answer passes and is counted) or `hard` (only "good" passes). Required.
    mode: Option<Located<OcspMode>>,
    /// `http://` address of the responder. Default: the one the certificate names.
    responder: Option<Located<String>>,
    /// How long a client waits for an answer at most.
    deadline: Option<Located<DurationText>>,
    /// Ask for a nonce in the answer. Most public responders do not echo one.
    nonce: Option<bool>,
    /// An answer is asked for again after this long at the latest.
    refresh: Option<Located<DurationText>>,
    /// Certificates whose status is remembered.
    entries: Option<Located<Number>>,
}

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

impl RawCrl {
    pub(crate) fn check(self, check: &mut Check<'_>, table: &Span) -> CrlSettings {
        let files = self.files.iter().flatten();
        let files: Vec<_> = files.map(|text| check.path(text)).collect();
        check.distinct(&files, "this file");
        let urls: Vec<_> = self.urls.unwrap_or_default();
        urls.iter().for_each(|url| check_url(check, url));
        check.distinct(&urls, "this address");
        let cdp = self.cdp.unwrap_or(false);
        let lost = ["files", "urls", "cdp"]
            .iter()
            .any(|key| check.lost_key(table, key));
        if files.is_empty() && urls.is_empty() && !cdp && !lost {
            check
                .error(table, "no revocation list is named here")
                .help("add `files`, `urls` or `cdp = true`");
        }
        let millis = Duration::from_millis(100);
        CrlSettings {
            files,
            urls: urls.into_iter().map(|url| url.value).collect(),
            cdp,
            stale: stale_policy(check, self.stale),
            refresh: check.duration(self.refresh, 3600 * SECOND, SECOND..=30 * DAY),
            check: check.duration(self.check, 10 * SECOND, millis..=DAY),
            scope: self.scope.map_or(CrlScope::Chain, |scope| scope.value),
            max_size: check.size(self.max_size, 64 << 20, 1 << 10..=1 << 30),
            timeout: check.duration(self.timeout, 10 * SECOND, millis..=600 * SECOND),
        }
    }
}

impl RawOcsp {
    pub(crate) fn check(self, check: &mut Check<'_>, table: &Span) -> OcspSettings {
        let mode = check.required(table, "mode", self.mode);
        if let Some(url) = &self.responder {
            check_url(check, url);
        }
        let least = Duration::from_millis(10);
        OcspSettings {
            mode: mode.map_or(OcspMode::Hard, |mode| mode.value),
            responder: self.responder.map(|url| url.value),
            deadline: check.duration(self.deadline, 2 * SECOND, least..=60 * SECOND),
            nonce: self.nonce.unwrap_or(false),
            refresh: check.duration(self.refresh, 3600 * SECOND, SECOND..=30 * DAY),
            entries: check.count(self.entries, 10_000, 16..=10_000_000),
        }
    }
}

fn stale_policy(check: &mut Check<'_>, written: Option<Located<DurationText>>) -> StalePolicy {
    let Some(text) = written else {
        return StalePolicy::Hard;
    };
    match text.value.0.as_str() {
        "hard" => return StalePolicy::Hard,
        "soft" => return StalePolicy::Soft,
        word if parse_duration(word).is_err() => {
            check
                .error(&text.span, format!("unknown value {}", quoted(word)))
                .help("write \"hard\", \"soft\", or a duration such as \"6h\"");
            return StalePolicy::Hard;
        }
        _ => {}
    }
    StalePolicy::Grace(check.duration(Some(text), SECOND, SECOND..=365 * DAY))
}

/// `http://HOST[:PORT][/PATH]`, printable ASCII.
fn check_url(check: &mut Check<'_>, url: &Located<String>) {
    let rest = match url.value.split_once("://") {
        Some(("http", rest)) => rest,
        Some(("https", _)) => {
            check
                .error(&url.span, "lists and answers are not fetched over https")
                .help(
                    "write `http://`: CRLs and OCSP answers are signed and served over http (RFC 5280, \
                     section 8)",
                );
            return;
        }
        _ => "",
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let plain = rest.bytes().all(|byte| byte.is_ascii_graphic());
    if authority.is_empty() || authority.contains('@') || rest.contains('#') || !plain {
        let message = format!("{} is no address to fetch from", quoted(&url.value));
        check
            .error(&url.span, message)
            .help("write it as \"http://HOST/PATH\", without user and fragment");
    }
}
