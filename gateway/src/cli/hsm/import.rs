//! `import` and `delete`: what comes into a token from files, and what leaves it for ever.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use portcullis_hsm::KeyInfo;
use portcullis_hsm::generate::{
    DeleteScope, KeyName, Renewal, delete, import_certificate, import_key,
};
use portcullis_hsm::uri::Pkcs11Uri;
use serde_json::json;

use super::Report;
use super::arguments::{Id, TokenArgs, hex, toml_text};
use super::describe::{key_json, key_text};
use super::exit::Refusal;
use super::keygen::certificate_next;
use crate::cli::Exit;

#[derive(Args)]
#[command(after_help = super::EXIT_CODES)]
#[group(id = "what", required = true, multiple = true, args = ["key_file", "cert"])]
pub(super) struct Import {
    #[command(flatten)]
    token: TokenArgs,
    /// PEM file with a private key (PKCS#8, PKCS#1 or SEC 1), not encrypted.
    #[arg(long, value_name = "FILE", requires = "label")]
    key_file: Option<PathBuf>,
    /// Label of the imported key.
    #[arg(long, requires = "key_file")]
    label: Option<String>,
    /// Id of the imported key in hexadecimal; default: random.
    #[arg(long, value_name = "HEX", value_parser = hex, requires = "key_file")]
    id: Option<Id>,
    /// PEM file with a certificate chain, leaf first.
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,
    /// URI of the key that the chain is for; default: the key of the token with its public key.
    #[arg(
        long,
        value_name = "URI",
        requires = "cert",
        conflicts_with = "key_file"
    )]
    key: Option<Pkcs11Uri>,
    /// Remove an older certificate of the same key after the new one was stored.
    #[arg(long, requires = "cert")]
    replace: bool,
}

#[derive(Args)]
#[command(after_help = super::EXIT_CODES)]
pub(super) struct Delete {
    #[command(flatten)]
    token: TokenArgs,
    /// URI of the private key; with `type=cert` or `type=secret-key`, of that object.
    #[arg(long, value_name = "URI")]
    key: Pkcs11Uri,
    /// Leave the certificates of the key in the token.
    #[arg(long)]
    keep_certificates: bool,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

impl Import {
    pub(super) fn run(self) -> anyhow::Result<Report> {
        // Read before anything changes in the token.
        let chain = match &self.cert {
            Some(path) => {
                Some(fs::read(path).with_context(|| format!("cannot read {}", path.display()))?)
            }
            None => None,
        };
        let (token, chosen) = self.token.open(self.key.as_ref())?;
        let (mut text, mut value) = (String::new(), json!({}));
        let mut imported: Option<KeyInfo> = None;
        if let (Some(file), Some(label)) = (&self.key_file, &self.label) {
            let id = self.id.as_ref().map(|id| &id.0[..]);
            let key = import_key(&token, file, KeyName { label, id })?;
            text = format!("{}\n", key_text(&key));
            value["key"] = key_json(&key);
            imported = Some(key);
        }
        let Some(chain) = chain else {
            let report = Report::new(text, value);
            let uri = imported.map(|key| key.uri).unwrap_or_default();
            return Ok(certificate_next(report, &chosen, &uri).next(
                "keep or destroy the key file: whoever has it has the key, wherever the token is",
            ));
        };
        let owner = match &imported {
            Some(key) => Some(key.uri.parse()?),
            None => self.key.clone(),
        };
        let renewal = if self.replace {
            Renewal::Replace
        } else {
            Renewal::Refuse
        };
        let stored = import_certificate(&token, &chain, owner.as_ref(), renewal)
            .inspect_err(|_| leave_nothing(&token, imported.as_ref()))?;
        text.push_str(&format!(
            "{}\n    stored {} certificates, {} were there already, {} older removed\n",
            stored.leaf,
            stored.stored.len(),
            stored.present,
            stored.replaced
        ));
        value["certificate"] = json!({
            "leaf": stored.leaf.to_string(),
            "stored": stored.stored.iter().map(|uri| uri.to_string()).collect::<Vec<_>>(),
            "present": stored.present,
            "replaced": stored.replaced,
        });
        text.push_str(&format!(
            "the chain in the token is {}",
            toml_text(&stored.leaf.to_string())
        ));
        Ok(Report::new(text, value).next(format!("portcullis hsm check {}", chosen.arguments())))
    }
}

/// A key whose certificate did not fit was not what the operator meant.
fn leave_nothing(token: &portcullis_hsm::Token, imported: Option<&KeyInfo>) {
    if let Some(uri) = imported.and_then(|key| key.uri.parse().ok()) {
        // The error about the certificate is the one to tell.
        let _ = delete(token, &uri, DeleteScope::KeyAndCertificates, |_| true);
    }
}

impl Delete {
    pub(super) fn run(self) -> anyhow::Result<Report> {
        let (token, chosen) = self.token.open(Some(&self.key))?;
        let scope = if self.keep_certificates {
            DeleteScope::Key
        } else {
            DeleteScope::KeyAndCertificates
        };
        let mut asked = Ok(true);
        let removed = delete(&token, &self.key, scope, |doomed| {
            if !self.yes {
                asked = ask(doomed);
            }
            matches!(asked, Ok(true))
        })?;
        let value = json!({
            "deleted": removed.iter().map(|uri| uri.to_string()).collect::<Vec<_>>(),
        });
        if !asked? {
            let text = "the label was not typed: nothing was deleted";
            return Ok(Report::new(text, value).exit(Exit::Failed));
        }
        let lines: Vec<_> = removed.iter().map(|uri| format!("deleted {uri}")).collect();
        Ok(Report::new(lines.join("\n"), value)
            .next(format!("portcullis hsm list {}", chosen.arguments())))
    }
}

/// Shows what would go and has the label typed. On the terminal, not on standard input, which may be a pipe.
fn ask(doomed: &[Pkcs11Uri]) -> anyhow::Result<bool> {
    let terminal = File::options().read(true).write(true).open("/dev/tty");
    let mut terminal = terminal
        .map_err(|_| Refusal::Usage("there is no terminal to ask on: use --yes".to_owned()))?;
    // The object that the command named comes last.
    let label = doomed.last().and_then(|uri| uri.object());
    let (what, word) = match label {
        Some(label) => ("its label", label),
        None => ("`delete`", "delete"),
    };
    for uri in doomed {
        writeln!(terminal, "{uri}")?;
    }
    write!(terminal, "This cannot be undone. Type {what} to delete: ")?;
    let mut line = String::new();
    BufReader::new(terminal).read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']) == word)
}
