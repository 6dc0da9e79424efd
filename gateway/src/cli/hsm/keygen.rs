//! `keygen`: keys that are born in the token.

use clap::Args;
use portcullis_hsm::generate::{keygen, keygen_extractable, keygen_wrapping, secret};
use portcullis_hsm::{KeyKind, Token};
use serde_json::json;

use super::Report;
use super::arguments::{Chosen, Id, Kind, TokenArgs, hex, quote, toml_text};
use super::describe::{key_json, key_text};
use super::exit::Refusal;

#[derive(Args)]
#[command(after_help = super::EXIT_CODES)]
pub(super) struct Keygen {
    #[command(flatten)]
    token: TokenArgs,
    /// Kind of the key.
    #[arg(long, value_enum, default_value = "p256")]
    kind: Kind,
    /// Label of the key.
    #[arg(long)]
    label: String,
    /// Id of the key in hexadecimal; default: random.
    #[arg(long, value_name = "HEX", value_parser = hex)]
    id: Option<Id>,
    /// Let the key be wrapped out of the token for a backup. The gateway then refuses it unless
    /// `keys.extractable` names it.
    #[arg(long)]
    extractable: bool,
}

impl Keygen {
    pub(super) fn run(self) -> anyhow::Result<Report> {
        if self.extractable && self.kind.pair().is_none() {
            let text =
                "a wrapping key or a secret does not leave its token: leave --extractable out";
            return Err(Refusal::Usage(text.to_owned()).into());
        }
        let (token, chosen) = self.token.open(None)?;
        let id = self.id.as_ref().map(|id| &id.0[..]);
        if self.kind == Kind::Secret {
            return self.secret(&token);
        }
        let Some(kind) = self.kind.pair() else {
            let uri = keygen_wrapping(&token, &self.label, id)?;
            let value = json!({ "wrapping_key": uri.to_string() });
            let with = quote(&uri.to_string());
            return Ok(Report::new(uri.to_string(), value).next(format!(
                "portcullis hsm wrap {} --key URI --with {with} --out FILE",
                chosen.arguments()
            )));
        };
        let make: fn(_, KeyKind, &str, Option<&[u8]>) -> _ = if self.extractable {
            keygen_extractable
        } else {
            keygen
        };
        let key = make(&token, kind, &self.label, id)?;
        let report = Report::new(key_text(&key), json!({ "key": key_json(&key) }));
        let report = certificate_next(report, &chosen, &key.uri);
        Ok(if self.extractable {
            report.next(format!(
                "portcullis hsm wrap {} --key {} --with URI --out FILE",
                chosen.arguments(),
                quote(&key.uri)
            ))
        } else {
            report
        })
    }
}

impl Keygen {
    fn secret(&self, token: &Token) -> anyhow::Result<Report> {
        let made = secret(token, &self.label, self.id.as_ref().map(|id| &id.0[..]))?;
        let uri = &made.info().uri;
        let value = json!({ "secret": uri, "provenance": made.info().provenance.to_string() });
        let text = format!("{uri}\n    secret, {}", made.info().provenance);
        let keys = toml_text(uri);
        Ok(Report::new(text, value).next(format!("[tickets] keys = {{ hsm = {keys} }}")))
    }
}

/// A key without a certificate: ask a CA, or sign one to try.
pub(super) fn certificate_next(report: Report, chosen: &Chosen, uri: &str) -> Report {
    let (arguments, uri) = (chosen.arguments(), quote(uri));
    report
        .next(format!(
            "portcullis hsm selfsign {arguments} --key {uri} --name DNS-NAME --out FILE"
        ))
        .next(format!(
            "portcullis hsm csr {arguments} --key {uri} --name DNS-NAME --out FILE"
        ))
}
