//! `init` and `list`: a token on an empty slot, and what is in a token.

use std::fmt::Write as _;
use std::path::Path;

use clap::Args;
use portcullis_hsm::generate::{Inventory, SlotChoice, StoredSecret, init_token, inventory};
use portcullis_hsm::{TokenInfo, tokens};
use serde_json::{Value, json};

use super::Report;
use super::arguments::{ModuleArgs, PinArgs, TokenArgs, common, pin_source, quote};
use super::describe::{key_json, key_text, token_json};

#[derive(Args)]
#[command(after_help = super::EXIT_CODES)]
pub(super) struct Init {
    #[command(flatten)]
    module: ModuleArgs,
    /// Label of the token.
    #[arg(long)]
    label: String,
    /// The slot; default: the first whose token is not initialized.
    #[arg(long)]
    slot: Option<u64>,
    /// Where the PIN of the security officer comes from: file:PATH, env:NAME, credential:NAME, fd:N, prompt.
    #[arg(long, value_name = "SOURCE", default_value = "prompt")]
    so_pin: String,
    #[command(flatten)]
    pin: PinArgs,
}

#[derive(Args)]
#[command(after_help = super::EXIT_CODES)]
pub(super) struct List {
    #[command(flatten)]
    token: TokenArgs,
}

impl Init {
    pub(super) fn run(self) -> anyhow::Result<Report> {
        let module = self.module.path(None)?;
        let (so_source, source) = (pin_source(&self.so_pin)?, self.pin.source()?);
        let so_pin = so_source.read_new("new PIN of the security officer")?;
        let pin = source.read_new("new user PIN")?;
        let choice = self.slot.map_or(SlotChoice::Free, SlotChoice::Id);
        let info = init_token(&module, choice, &self.label, &so_pin, &pin)?;
        let text = format!("made token `{}`, serial {}", info.label, info.serial);
        let arguments = common(&module, &info, &source);
        Ok(Report::new(text, json!({ "token": token_json(&info) }))
            .next(format!("portcullis hsm keygen {arguments} --label NAME")))
    }
}

impl List {
    pub(super) fn run(self) -> anyhow::Result<Report> {
        if self.token.select(None).is_none() {
            let module = self.token.module.path(None)?;
            let found = tokens(&module)?;
            if found.len() != 1 {
                return Ok(list_tokens(&module, &found));
            }
        }
        let (token, chosen) = self.token.open(None)?;
        let found = inventory(&token)?;
        let unusable: Vec<_> = found
            .unusable
            .iter()
            .map(|key| json!({ "uri": key.uri.to_string(), "reason": key.reason }))
            .collect();
        let certificates: Vec<_> = found
            .certificates
            .iter()
            .map(|stored| json!({ "uri": stored.uri.to_string(), "subject": stored.subject }))
            .collect();
        let wrapping: Vec<_> = found.wrapping_keys.iter().map(|k| k.to_string()).collect();
        let value = json!({
            "token": token_json(token.info()),
            "keys": found.keys.iter().map(key_json).collect::<Vec<_>>(),
            "unusable": unusable,
            "certificates": certificates,
            "wrapping_keys": wrapping,
            "secrets": found.secrets.iter().map(secret_json).collect::<Vec<_>>(),
        });
        let report = Report::new(text(token.info(), &found), value);
        let arguments = chosen.arguments();
        Ok(if found.keys.is_empty() {
            report.next(format!("portcullis hsm keygen {arguments} --label NAME"))
        } else {
            report
                .next("paste a URI as `key` of a [[site.certificate]]")
                .next(format!("portcullis hsm check {arguments}"))
        })
    }
}

/// All of a token, kind by kind.
fn text(token: &TokenInfo, found: &Inventory) -> String {
    let mut text = format!(
        "token `{}`, serial {}, {} {}, slot {}\n",
        token.label, token.serial, token.manufacturer, token.model, token.slot
    );
    if found.keys.is_empty() {
        text.push_str("it has no private keys that serve TLS\n");
    }
    // Writing to a String cannot fail.
    for key in &found.keys {
        let _ = writeln!(text, "{}", key_text(key));
    }
    for key in &found.unusable {
        let _ = writeln!(text, "{}\n    cannot serve TLS: {}", key.uri, key.reason);
    }
    for stored in &found.certificates {
        let subject = stored.subject.as_deref().unwrap_or("no common name");
        let _ = writeln!(text, "{}\n    certificate of {subject:?}", stored.uri);
    }
    for uri in &found.wrapping_keys {
        let _ = writeln!(text, "{uri}\n    secret key, for wrap and unwrap");
    }
    for secret in &found.secrets {
        let (uri, kept) = (&secret.uri, secret.generation);
        let _ = match &secret.unfit {
            Some(reason) => writeln!(text, "{uri}\n    secret, cannot derive: {reason}"),
            None => writeln!(
                text,
                "{uri}\n    secret, generation {} (accepted from {})",
                kept.current, kept.floor
            ),
        };
    }
    text
}

fn secret_json(secret: &StoredSecret) -> Value {
    json!({
        "uri": secret.uri.to_string(),
        "generation": secret.generation.current,
        "accepted_from": secret.generation.floor,
        "unfit": secret.unfit,
    })
}

fn list_tokens(module: &Path, found: &[TokenInfo]) -> Report {
    let mut text = String::new();
    for token in found {
        let _ = writeln!(text, "{}  slot {}", token.uri(), token.slot);
    }
    let module = quote(&module.display().to_string());
    let value = json!({ "tokens": found.iter().map(token_json).collect::<Vec<_>>() });
    if found.is_empty() {
        Report::new("no tokens", value).next(format!(
            "portcullis hsm init --module {module} --label NAME"
        ))
    } else {
        Report::new(text, value).next(format!(
            "portcullis hsm list --module {module} --token LABEL"
        ))
    }
}
