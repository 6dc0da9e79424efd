//! `check`: can this token serve, before anybody depends on it.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::Args;
use portcullis_hsm::generate::{Inventory, inventory, pin_state, stored_chain};
use portcullis_hsm::uri::{ObjectType, Pkcs11Uri};
use portcullis_hsm::{Extractable, Key, KeyInfo, Token};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use serde_json::json;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::arguments::TokenArgs;
use super::checks::{self, Finding, Standing};
use super::{Report, exit};
use crate::cli::Exit;

#[derive(Args)]
#[command(after_help = super::EXIT_CODES)]
pub(super) struct Check {
    #[command(flatten)]
    token: TokenArgs,
    /// URI of the key; default: every key of the token that can serve TLS.
    #[arg(long, value_name = "URI")]
    key: Option<Pkcs11Uri>,
    /// PEM file with the certificate chain of the key; default: the certificate in the token, if there is one.
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,
}

/// What was found about one key.
struct Checked {
    uri: String,
    findings: Vec<Finding>,
    tls13: bool,
}

impl Check {
    pub(super) fn run(self) -> anyhow::Result<Report> {
        let chain = match &self.cert {
            Some(path) => Some(read_chain(path)?),
            None => None,
        };
        let chosen = self.token.choose(self.key.as_ref())?;
        let flags = checks::pin(&pin_state(chosen.module(), &chosen.info)?);
        // The flags say why a login fails, so they are told even then.
        let token = match chosen.open(std::num::NonZeroUsize::MIN) {
            Ok(token) => token,
            Err(error) => {
                let exit = exit::of(&error);
                let login = Finding::new(Standing::Failed, "login", format!("{error:#}"));
                let flags = flags.into_iter().chain([login]).collect();
                return Ok(report(&chosen.info.uri().to_string(), flags, &[]).exit(exit));
            }
        };
        let found = inventory(&token)?;
        let keys = self.keys(&token, &found, chain.as_deref())?;
        let checked: Vec<_> = keys
            .iter()
            .map(|key| check_key(&token, &found, key, chain.as_deref()))
            .collect();
        let report = report(&token.info().uri().to_string(), flags, &checked);
        Ok(if keys.is_empty() {
            report.next(format!(
                "portcullis hsm keygen {} --label NAME",
                chosen.arguments()
            ))
        } else {
            report.next("portcullis check --live with the configuration that names the key")
        })
    }

    /// The keys to check. With a certificate and no key: the one with its public key.
    fn keys(
        &self,
        token: &Token,
        found: &Inventory,
        chain: Option<&[CertificateDer<'static>]>,
    ) -> anyhow::Result<Vec<Key>> {
        // An extractable key is checked and told; whether it is used, the configuration decides.
        let open = |uri: &Pkcs11Uri| token.key(uri, Extractable::Allow);
        if let Some(uri) = &self.key {
            return Ok(vec![open(uri)?]);
        }
        let mut keys = Vec::new();
        for info in &found.keys {
            keys.push(open(&info.uri.parse()?)?);
        }
        if let Some(leaf) = chain.and_then(<[_]>::first) {
            let spki = match X509Certificate::from_der(leaf) {
                Ok((_, parsed)) => parsed.public_key().raw.to_vec(),
                Err(error) => anyhow::bail!("the certificate cannot be read: {error}"),
            };
            keys.retain(|key| key.spki() == spki);
            if keys.is_empty() {
                return Err(portcullis_hsm::HsmError::CertificateMismatch {
                    key: token.info().uri().to_string(),
                }
                .into());
            }
        }
        Ok(keys)
    }
}

fn check_key(
    token: &Token,
    found: &Inventory,
    key: &Key,
    chain: Option<&[CertificateDer<'static>]>,
) -> Checked {
    let mut findings = vec![checks::attributes(key)];
    let (schemes, tls13) = checks::schemes(key);
    findings.extend(schemes);
    let chain = match chain {
        Some(chain) => Some(Ok(chain.to_vec())),
        None => in_token(token, found, key.info()),
    };
    match chain {
        Some(Ok(chain)) => findings.extend(certificate(key, chain)),
        Some(Err(error)) => findings.push(Finding::new(
            Standing::Failed,
            "certificate in the token",
            error.to_string(),
        )),
        None => findings.push(Finding::new(
            Standing::Notice,
            "certificate",
            "none in the token with the id of the key, and none named with --cert",
        )),
    }
    Checked {
        uri: key.info().uri.clone(),
        findings,
        tls13,
    }
}

/// The chain that is stored with the id of the key.
fn in_token(
    token: &Token,
    found: &Inventory,
    key: &KeyInfo,
) -> Option<Result<Vec<CertificateDer<'static>>, portcullis_hsm::HsmError>> {
    if key.id.is_empty() || found.certificates.iter().all(|stored| stored.id != key.id) {
        return None;
    }
    let uri = Pkcs11Uri::default()
        .with_token_label(&token.info().label)
        .with_object_type(ObjectType::Certificate)
        .with_id(&key.id);
    Some(stored_chain(token, &uri))
}

/// The certificate is for the key, and valid now.
fn certificate(key: &Key, chain: Vec<CertificateDer<'static>>) -> Vec<Finding> {
    let length = chain.len();
    let validity = chain.first().map(|leaf| valid_now(leaf));
    let matched = match key.certify(chain) {
        Ok(_) => {
            let detail = format!("is for this key, chain of {length}");
            Finding::new(Standing::Fine, "certificate", detail)
        }
        Err(error) => Finding::new(Standing::Failed, "certificate", error.to_string()),
    };
    std::iter::once(matched).chain(validity).collect()
}

fn valid_now(leaf: &CertificateDer<'_>) -> Finding {
    let what = "certificate validity";
    let Ok((_, parsed)) = X509Certificate::from_der(leaf) else {
        return Finding::new(Standing::Failed, what, "it cannot be read");
    };
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let validity = parsed.validity();
    let detail = format!("{} to {}", validity.not_before, validity.not_after);
    let valid = (validity.not_before.timestamp()..=validity.not_after.timestamp()).contains(&now);
    if valid {
        Finding::new(Standing::Fine, what, detail)
    } else {
        Finding::new(Standing::Failed, what, format!("not now: {detail}"))
    }
}

fn report(token: &str, flags: Vec<Finding>, keys: &[Checked]) -> Report {
    let mut text = format!("{token}\n");
    let add = |text: &mut String, findings: &[Finding]| {
        for finding in findings {
            let _ = write!(text, "    {}", finding.text()); // A String takes everything.
        }
    };
    add(&mut text, &flags);
    for key in keys {
        let _ = writeln!(text, "{}", key.uri);
        add(&mut text, &key.findings);
    }
    let every = flags
        .iter()
        .chain(keys.iter().flat_map(|key| &key.findings));
    let ok = every
        .clone()
        .all(|finding| finding.standing != Standing::Failed);
    text.push_str(if ok { "ok" } else { "a check failed" });
    let json_of = |findings: &[Finding]| findings.iter().map(Finding::json).collect::<Vec<_>>();
    let key_json = |key: &Checked| json!({ "uri": key.uri, "tls13_ready": key.tls13, "findings": json_of(&key.findings) });
    let value = json!({
        "ok": ok,
        "token": token,
        "pin": json_of(&flags),
        "keys": keys.iter().map(key_json).collect::<Vec<_>>(),
    });
    let report = Report::new(text, value);
    if ok { report } else { report.exit(Exit::Live) }
}

fn read_chain(path: &std::path::Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let pem = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        _ => anyhow::bail!("{} holds no PEM certificate", path.display()),
    }
}
