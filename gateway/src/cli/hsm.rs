//! `portcullis hsm init|list|keygen|selfsign`: a token from empty to the first certificate.
//!
//! Each command prints what it did and the command that comes next. A PIN is never an argument, only where
//! it comes from.

use std::fs::File;
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::{Args, Subcommand, ValueEnum};
use portcullis_hsm::generate::{SlotChoice, init_token, keygen, selfsign};
use portcullis_hsm::uri::Pkcs11Uri;
use portcullis_hsm::{
    Extractable, KeyInfo, KeyKind, PinSource, Token, TokenInfo, TokenSelect, TokenSettings, tokens,
};

use super::say;

/// Where distributions install SoftHSM, the module that is used when none is named.
const SOFTHSM: [&str; 4] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
];

/// How long a command waits for a signature or a search; somebody is watching.
const DEADLINE: Duration = Duration::from_secs(60);

/// What to do with a token.
#[derive(Subcommand)]
pub(super) enum HsmCommand {
    /// Make a token on a free slot: set its label, its security officer PIN and its user PIN.
    Init(Init),
    /// List the private keys of a token as URIs for the configuration; or the tokens, if there are several.
    List(List),
    /// Make a key pair that cannot leave the token.
    Keygen(Keygen),
    /// Write a self-signed certificate for a key, to try a listener with.
    Selfsign(Selfsign),
}

#[derive(Args)]
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
pub(super) struct List {
    #[command(flatten)]
    token: TokenArgs,
    /// How to print.
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

#[derive(Args)]
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
}

#[derive(Args)]
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

#[derive(Args)]
struct ModuleArgs {
    /// The PKCS#11 library; default: SoftHSM.
    #[arg(long, value_name = "PATH")]
    module: Option<PathBuf>,
}

#[derive(Args)]
struct PinArgs {
    /// Where the user PIN comes from: file:PATH, env:NAME, credential:NAME, fd:N or prompt.
    // Text here, so that clap does not repeat a PIN that was written in its place.
    #[arg(long, value_name = "SOURCE", default_value = "prompt")]
    pin: String,
}

#[derive(Args)]
struct TokenArgs {
    #[command(flatten)]
    module: ModuleArgs,
    /// Label of the token. Without --token, --slot and --serial: the only token of the module.
    #[arg(long, value_name = "LABEL", group = "select")]
    token: Option<String>,
    /// Slot id of the token. Slot ids move; prefer the label.
    #[arg(long, group = "select")]
    slot: Option<u64>,
    /// Serial number of the token.
    #[arg(long, group = "select")]
    serial: Option<String>,
    #[command(flatten)]
    pin: PinArgs,
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    Text,
    Json,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    P256,
    P384,
    P521,
    Rsa2048,
    Rsa3072,
    Rsa4096,
    Ed25519,
}

/// `CKA_ID`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Id(Vec<u8>);

/// Runs a command.
pub(super) fn run(command: HsmCommand) -> anyhow::Result<()> {
    match command {
        HsmCommand::Init(init) => init.run(),
        HsmCommand::List(list) => list.run(),
        HsmCommand::Keygen(keygen) => keygen.run(),
        HsmCommand::Selfsign(selfsign) => selfsign.run(),
    }
}

impl Init {
    fn run(self) -> anyhow::Result<()> {
        let module = self.module.path()?;
        let (so_source, source) = (pin_source(&self.so_pin)?, self.pin.source()?);
        let so_pin = so_source.read_new("new PIN of the security officer")?;
        let pin = source.read_new("new user PIN")?;
        let choice = self.slot.map_or(SlotChoice::Free, SlotChoice::Id);
        let info = init_token(&module, choice, &self.label, &so_pin, &pin)?;
        say(format_args!(
            "made token `{}`, serial {}",
            info.label, info.serial
        ));
        let arguments = common(&module, &info, &source);
        say(format_args!(
            "next: portcullis hsm keygen {arguments} --label NAME"
        ));
        Ok(())
    }
}

impl List {
    fn run(self) -> anyhow::Result<()> {
        let module = self.token.module.path()?;
        if self.token.select().is_none() {
            let found = tokens(&module)?;
            if found.len() != 1 {
                return self.list_tokens(&module, &found);
            }
        }
        let token = self.token.open(&module)?;
        let keys = token.list()?;
        match self.output {
            Output::Json => {
                let keys: Vec<_> = keys.iter().map(json).collect();
                say(format_args!("{:#}", serde_json::Value::from(keys)));
            }
            Output::Text if keys.is_empty() => {
                let arguments = common(&module, token.info(), &self.token.pin.source()?);
                say(format_args!(
                    "token `{}` has no private keys",
                    token.info().label
                ));
                say(format_args!(
                    "next: portcullis hsm keygen {arguments} --label NAME"
                ));
            }
            Output::Text => {
                for key in &keys {
                    say(text(key));
                }
                say(
                    "next: paste a URI as `key` of a [[site.certificate]], or run portcullis hsm selfsign",
                );
            }
        }
        Ok(())
    }

    fn list_tokens(&self, module: &Path, found: &[TokenInfo]) -> anyhow::Result<()> {
        if let Output::Json = self.output {
            bail!(
                "the module has {} tokens: choose one with --token",
                found.len()
            );
        }
        for token in found {
            say(format_args!("{}  slot {}", token.uri(), token.slot));
        }
        let module = module.display();
        match found {
            [] => say(format_args!(
                "no tokens; next: portcullis hsm init --module {module} --label NAME"
            )),
            _ => say(format_args!(
                "next: portcullis hsm list --module {module} --token LABEL"
            )),
        };
        Ok(())
    }
}

impl Keygen {
    fn run(self) -> anyhow::Result<()> {
        let module = self.token.module.path()?;
        let token = self.token.open(&module)?;
        let id = self.id.as_ref().map(|id| &id.0[..]);
        let key = keygen(&token, self.kind.into(), &self.label, id)?;
        say(text(&key));
        let arguments = common(&module, token.info(), &self.token.pin.source()?);
        let uri = quote(&key.uri);
        say(format_args!(
            "next: portcullis hsm selfsign {arguments} --key {uri} --name DNS-NAME --out FILE"
        ));
        Ok(())
    }
}

impl Selfsign {
    fn run(self) -> anyhow::Result<()> {
        let module = self.token.module.path()?;
        let token = self.token.open(&module)?;
        // A certificate is public; that its key must not be extractable is decided where it is used.
        let key = token.key(&self.key, Extractable::Allow)?;
        let pem = selfsign(&key, &self.names, self.days)?;
        let out = self.out.display();
        let file = File::create_new(&self.out).with_context(|| format!("cannot create {out}"));
        file?
            .write_all(pem.as_bytes())
            .with_context(|| format!("cannot write {out}"))?;
        say(format_args!("wrote {out}, valid for {} days", self.days));
        say("next: put this under a [[site]] and run portcullis check --live");
        say(format_args!(
            "[[site.certificate]]\nchain = {}\nkey = {}",
            toml_text(&out.to_string()),
            toml_text(&key.info().uri)
        ));
        Ok(())
    }
}

impl ModuleArgs {
    fn path(&self) -> anyhow::Result<PathBuf> {
        if let Some(path) = &self.module {
            return Ok(path.clone());
        }
        let found = SOFTHSM
            .into_iter()
            .map(PathBuf::from)
            .find(|path| path.exists());
        found.ok_or_else(|| {
            anyhow!("SoftHSM is not installed: name a PKCS#11 library with --module")
        })
    }
}

impl PinArgs {
    fn source(&self) -> anyhow::Result<PinSource> {
        pin_source(&self.pin)
    }
}

impl TokenArgs {
    fn select(&self) -> Option<TokenSelect> {
        let label = self.token.clone().map(TokenSelect::Label);
        let serial = self.serial.clone().map(TokenSelect::Serial);
        label.or(serial).or(self.slot.map(TokenSelect::Slot))
    }

    /// Opens the token that is named, or the only one.
    fn open(&self, module: &Path) -> anyhow::Result<Token> {
        let select = match self.select() {
            Some(select) => select,
            None => match &tokens(module)?[..] {
                [only] => TokenSelect::Serial(only.serial.clone()),
                found => bail!(
                    "the module has {} tokens: choose one with --token",
                    found.len()
                ),
            },
        };
        let settings = TokenSettings {
            name: "command line".to_owned(),
            module: module.to_owned(),
            select,
            pin: Some(self.pin.source()?),
            sessions: NonZeroUsize::MIN,
            queue: NonZeroUsize::MIN,
            deadline: DEADLINE,
        };
        Ok(Token::open(settings)?)
    }
}

impl From<Kind> for KeyKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::P256 => KeyKind::EcdsaP256,
            Kind::P384 => KeyKind::EcdsaP384,
            Kind::P521 => KeyKind::EcdsaP521,
            Kind::Rsa2048 => KeyKind::Rsa { bits: 2048 },
            Kind::Rsa3072 => KeyKind::Rsa { bits: 3072 },
            Kind::Rsa4096 => KeyKind::Rsa { bits: 4096 },
            Kind::Ed25519 => KeyKind::Ed25519,
        }
    }
}

fn pin_source(text: &str) -> anyhow::Result<PinSource> {
    text.parse().map_err(|error: String| anyhow!(error))
}

fn hex(text: &str) -> Result<Id, String> {
    let digits = text.as_bytes().chunks(2).map(|pair| match pair {
        [high, low] => {
            let digit = |byte: u8| {
                char::from(byte)
                    .to_digit(16)
                    .and_then(|d| u8::try_from(d).ok())
            };
            Some(digit(*high)? << 4 | digit(*low)?)
        }
        _ => None,
    });
    let id: Option<Vec<u8>> = digits.collect();
    let id = id.filter(|id| !id.is_empty()).map(Id);
    id.ok_or_else(|| "an id is pairs of hexadecimal digits".to_owned())
}

/// The arguments that name the token in the next command.
fn common(module: &Path, token: &TokenInfo, pin: &PinSource) -> String {
    let module = quote(&module.display().to_string());
    let label = quote(&token.label);
    format!(
        "--module {module} --token {label} --pin {}",
        quote(&pin.to_string())
    )
}

fn text(key: &KeyInfo) -> String {
    let flags = [
        (key.sensitive, "sensitive"),
        (key.never_extractable, "never-extractable"),
        (key.local, "local"),
    ];
    let flags: Vec<_> = flags
        .into_iter()
        .filter(|(set, _)| *set)
        .map(|(_, name)| name)
        .collect();
    format!(
        "{}\n    {}, {} ({})",
        key.uri,
        key.kind,
        key.provenance,
        flags.join(", ")
    )
}

fn json(key: &KeyInfo) -> serde_json::Value {
    serde_json::json!({
        "uri": key.uri,
        "label": key.label,
        "kind": key.kind.to_string(),
        "provenance": key.provenance.to_string(),
        "sensitive": key.sensitive,
        "extractable": key.extractable,
        "never_extractable": key.never_extractable,
        "always_sensitive": key.always_sensitive,
        "local": key.local,
    })
}

/// A word of a shell command: a URI has `;` and `?` in it.
fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// A TOML basic string.
fn toml_text(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::{HsmCommand, Id, hex, quote};

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        command: HsmCommand,
    }

    #[test]
    fn a_pin_on_the_command_line_is_refused_and_not_repeated() {
        let line = [
            "hsm",
            "keygen",
            "--label",
            "site",
            "--module",
            "/nowhere.so",
            "--token",
            "edge",
            "--pin",
            "4711",
        ];
        let line = Line::try_parse_from(line).unwrap_or_else(|error| panic!("{error}"));
        let error = super::run(line.command).expect_err("no source");
        assert!(error.to_string().contains("PIN source"), "{error}");
        assert!(!format!("{error:?}").contains("4711"));
    }

    #[test]
    fn one_token_is_chosen_in_one_way() {
        let line = ["hsm", "list", "--token", "edge", "--slot", "1"];
        assert!(Line::try_parse_from(line).is_err());
    }

    #[test]
    fn ids_are_hexadecimal() {
        assert_eq!(hex("00fF"), Ok(Id(vec![0, 255])));
        for wrong in ["", "0", "0g", "+1", "é"] {
            assert!(hex(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn uris_are_quoted_for_the_shell() {
        assert_eq!(quote("/usr/lib/m.so"), "/usr/lib/m.so");
        assert_eq!(quote("pkcs11:a=b;c"), "'pkcs11:a=b;c'");
        assert_eq!(quote("it's"), "'it'\\''s'");
    }
}
