//! `wrap` and `unwrap`: a key goes from token to token, encrypted under a wrapping key that both have.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use portcullis_hsm::Extractable;
use portcullis_hsm::generate::{KeyName, WrappedKey, unwrap, wrap};
use portcullis_hsm::uri::Pkcs11Uri;
use serde_json::json;

use super::Report;
use super::arguments::{Id, TokenArgs, hex, quote, write_new};
use super::describe::{key_json, key_text};

#[derive(Args)]
#[command(after_help = super::EXIT_CODES)]
pub(super) struct Wrap {
    #[command(flatten)]
    token: TokenArgs,
    /// URI of the private key; it must be extractable.
    #[arg(long, value_name = "URI")]
    key: Pkcs11Uri,
    /// URI of the wrapping key (`keygen --kind aes256`).
    #[arg(long, value_name = "URI")]
    with: Pkcs11Uri,
    /// File to write, which must not exist; the public key goes to FILE.pub beside it (DER).
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Args)]
#[command(after_help = super::EXIT_CODES)]
pub(super) struct Unwrap {
    #[command(flatten)]
    token: TokenArgs,
    /// The file that `wrap` wrote.
    #[arg(long = "in", value_name = "FILE")]
    input: PathBuf,
    /// Its public key (DER); default: FILE.pub.
    #[arg(long, value_name = "FILE")]
    public: Option<PathBuf>,
    /// URI of the wrapping key.
    #[arg(long, value_name = "URI")]
    with: Pkcs11Uri,
    /// Label of the key in this token.
    #[arg(long)]
    label: String,
    /// Id of the key in hexadecimal; default: random.
    #[arg(long, value_name = "HEX", value_parser = hex)]
    id: Option<Id>,
    /// Let the key be wrapped again from this token.
    #[arg(long)]
    extractable: bool,
}

impl Wrap {
    pub(super) fn run(self) -> anyhow::Result<Report> {
        let (token, _) = self.token.open(Some(&self.key))?;
        let wrapped = wrap(&token, &self.key, &self.with)?;
        let public = beside(&self.out);
        write_new(&self.out, &wrapped.wrapped)?;
        write_new(&public, &wrapped.spki)?;
        let text = format!(
            "wrote {} (useless without the wrapping key) and {}",
            self.out.display(),
            public.display()
        );
        let value = json!({ "out": self.out, "public": public });
        let input = quote(&self.out.display().to_string());
        Ok(Report::new(text, value).next(format!(
            "on a token that has the same wrapping key: portcullis hsm unwrap --token LABEL --in {input} \
             --with URI --label NAME"
        )))
    }
}

impl Unwrap {
    pub(super) fn run(self) -> anyhow::Result<Report> {
        let public = self.public.clone().unwrap_or_else(|| beside(&self.input));
        let read =
            |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
        let key = WrappedKey {
            wrapped: read(&self.input)?,
            spki: read(&public)?,
        };
        let extractable = if self.extractable {
            Extractable::Allow
        } else {
            Extractable::Refuse
        };
        let (token, chosen) = self.token.open(Some(&self.with))?;
        let id = self.id.as_ref().map(|id| &id.0[..]);
        let name = KeyName {
            label: &self.label,
            id,
        };
        let key = unwrap(&token, &key, &self.with, name, extractable)?;
        let uri = quote(&key.uri);
        let value = json!({ "key": key_json(&key) });
        Ok(Report::new(key_text(&key), value).next(format!(
            "portcullis hsm check {} --key {uri}",
            chosen.arguments()
        )))
    }
}

/// Where the public key of a wrapped key is.
fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".pub");
    name.into()
}
