//! `csr` and `selfsign`: what a key signs about itself.

use std::path::PathBuf;

use clap::Args;
use portcullis_hsm::Extractable;
use portcullis_hsm::generate::{Names, csr, selfsign};
use portcullis_hsm::uri::Pkcs11Uri;
use serde_json::json;

use super::Report;
use super::arguments::{TokenArgs, quote, toml_text, write_new};

#[derive(Args)]
#[command(after_help = super::EXIT_CODES)]
pub(super) struct Csr {
    #[command(flatten)]
    token: TokenArgs,
    /// URI of the key, as `list` prints it.
    #[arg(long, value_name = "URI")]
    key: Pkcs11Uri,
    /// DNS name, IP address or URI (`spiffe://...`) of the request; may be given several times.
    #[arg(long = "name", value_name = "NAME", required = true)]
    names: Vec<String>,
    /// Common name of the subject; default: the first name.
    #[arg(long)]
    common_name: Option<String>,
    /// Organization of the subject.
    #[arg(long)]
    organization: Option<String>,
    /// File to write, which must not exist; default: print it.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Args)]
#[command(after_help = super::EXIT_CODES)]
pub(super) struct Selfsign {
    #[command(flatten)]
    token: TokenArgs,
    /// URI of the key, as `list` prints it.
    #[arg(long, value_name = "URI")]
    key: Pkcs11Uri,
    /// DNS name or address of the certificate; may be given several times.
    #[arg(long = "name", value_name = "NAME", required = true)]
    names: Vec<String>,
    /// How long it is valid.
    #[arg(long, default_value_t = 90)]
    days: u32,
    /// File to write; it must not exist.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl Csr {
    pub(super) fn run(self) -> anyhow::Result<Report> {
        let (token, chosen) = self.token.open(Some(&self.key))?;
        // A request is public; that its key must not be extractable is decided where it is used.
        let key = token.key(&self.key, Extractable::Allow)?;
        let names = Names {
            alternative: self.names,
            common: self.common_name,
            organization: self.organization,
        };
        let pem = csr(&key, &names)?;
        let text = match &self.out {
            Some(out) => {
                write_new(out, pem.as_bytes())?;
                format!("wrote {}", out.display())
            }
            None => pem.clone(),
        };
        let value = json!({ "key": key.info().uri, "pem": pem, "out": self.out });
        let (arguments, uri) = (chosen.arguments(), quote(&key.info().uri));
        Ok(Report::new(text, value)
            .next("send the request to your CA")
            .next(format!(
                "portcullis hsm import {arguments} --key {uri} --cert CHAIN-FILE"
            )))
    }
}

impl Selfsign {
    pub(super) fn run(self) -> anyhow::Result<Report> {
        let (token, _) = self.token.open(Some(&self.key))?;
        // A certificate is public; that its key must not be extractable is decided where it is used.
        let key = token.key(&self.key, Extractable::Allow)?;
        let pem = selfsign(&key, &self.names, self.days)?;
        write_new(&self.out, pem.as_bytes())?;
        let out = self.out.display().to_string();
        let entry = format!(
            "[[site.certificate]]\nchain = {}\nkey = {}",
            toml_text(&out),
            toml_text(&key.info().uri)
        );
        let text = format!("wrote {out}, valid for {} days\n{entry}", self.days);
        let value = json!({ "key": key.info().uri, "pem": pem, "out": out, "config": entry });
        Ok(Report::new(text, value)
            .next("put the lines above under a [[site]] and run portcullis check --live"))
    }
}
