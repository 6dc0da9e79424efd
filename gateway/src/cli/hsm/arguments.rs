//! Arguments that commands share: which module, which token, which PIN source; and words of the next command.

use std::fs::File;
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use portcullis_hsm::generate::pin_state;
use portcullis_hsm::uri::Pkcs11Uri;
use portcullis_hsm::{
    KeyKind, PinSource, Sessions, Token, TokenInfo, TokenSelect, TokenSettings, tokens,
};

use crate::certificates::state_dir;

use super::exit::Refusal;

/// Where distributions install SoftHSM, the module that is used when none is named.
const SOFTHSM: [&str; 4] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
];

/// How long a command waits for a signature or a search; somebody is watching.
const DEADLINE: Duration = Duration::from_secs(60);

#[derive(Args)]
pub(super) struct ModuleArgs {
    /// The PKCS#11 library; default: SoftHSM. `portcullis hsm modules` finds others.
    #[arg(long, value_name = "PATH")]
    module: Option<PathBuf>,
}

#[derive(Args)]
pub(super) struct PinArgs {
    /// Where the user PIN comes from: file:PATH, env:NAME, credential:NAME, fd:N or prompt.
    // Text here, so that clap does not repeat a PIN that was written in its place.
    #[arg(long, value_name = "SOURCE", default_value = "prompt")]
    pin: String,
}

#[derive(Args)]
pub(super) struct TokenArgs {
    #[command(flatten)]
    pub(super) module: ModuleArgs,
    /// Label of the token. Without --token, --slot and --serial: the one the URI names, or the only one.
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

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    P256,
    P384,
    P521,
    Rsa2048,
    Rsa3072,
    Rsa4096,
    Ed25519,
    /// A key that wraps other keys (`wrap`), and does nothing else.
    Aes256,
    /// A secret to derive ticket keys from (`tickets.keys`), and nothing else.
    Secret,
}

/// `CKA_ID`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Id(pub(super) Vec<u8>);

/// A token that was chosen and is not open yet.
pub(super) struct Chosen {
    pub(super) info: TokenInfo,
    module: PathBuf,
    pin: PinSource,
}

impl ModuleArgs {
    /// The library that is named, by the argument or by `uri`, or SoftHSM.
    pub(super) fn path(&self, uri: Option<&Pkcs11Uri>) -> anyhow::Result<PathBuf> {
        let named = uri.and_then(|uri| uri.module_path()).map(PathBuf::from);
        if let Some(path) = self.module.clone().or(named) {
            return Ok(path);
        }
        let mut known = SOFTHSM.into_iter().map(PathBuf::from);
        known.find(|path| path.exists()).ok_or_else(|| {
            let text = "SoftHSM is not installed: name a PKCS#11 library with --module (portcullis hsm \
                        modules finds them)";
            Refusal::Selection(text.to_owned()).into()
        })
    }
}

impl PinArgs {
    pub(super) fn source(&self) -> anyhow::Result<PinSource> {
        pin_source(&self.pin)
    }
}

impl TokenArgs {
    /// Which token: what is named here, or what `uri` says.
    pub(super) fn select(&self, uri: Option<&Pkcs11Uri>) -> Option<TokenSelect> {
        let label = self.token.clone().map(TokenSelect::Label);
        let serial = self.serial.clone().map(TokenSelect::Serial);
        let named = label.or(serial).or(self.slot.map(TokenSelect::Slot));
        named.or_else(|| {
            let uri = uri?;
            let serial = uri
                .serial()
                .map(|serial| TokenSelect::Serial(serial.to_owned()));
            let label = uri
                .token()
                .map(|label| TokenSelect::Label(label.to_owned()));
            serial.or(label).or(uri.slot_id().map(TokenSelect::Slot))
        })
    }

    /// The token that is named, or the only one. Asks for no PIN.
    pub(super) fn choose(&self, uri: Option<&Pkcs11Uri>) -> anyhow::Result<Chosen> {
        let pin = self.pin.source()?;
        let module = self.module.path(uri)?;
        let seen = tokens(&module)?;
        let select = self.select(uri);
        let fits = |info: &&TokenInfo| match &select {
            Some(TokenSelect::Label(label)) => info.label == *label,
            Some(TokenSelect::Serial(serial)) => info.serial == *serial,
            Some(TokenSelect::Slot(slot)) => info.slot == *slot,
            None => true,
        };
        let fitting: Vec<_> = seen.iter().filter(fits).collect();
        if let [info] = fitting[..] {
            let info = info.clone();
            return Ok(Chosen { info, module, pin });
        }
        let wanted = match &select {
            Some(select) => format!("{} of {} tokens have {select}", fitting.len(), seen.len()),
            None => format!("the module has {} tokens", seen.len()),
        };
        let mut text = format!("{wanted}: choose one with --token, --serial or --slot");
        for info in &seen {
            let uri = info.uri().with_slot_id(info.slot);
            text.push_str(&format!("\n  {uri}"));
        }
        Err(Refusal::Selection(text).into())
    }

    /// Opens the token that is named, or the only one, with one session.
    pub(super) fn open(&self, uri: Option<&Pkcs11Uri>) -> anyhow::Result<(Token, Chosen)> {
        let chosen = self.choose(uri)?;
        let token = chosen.open(NonZeroUsize::MIN)?;
        Ok((token, chosen))
    }
}

impl Chosen {
    /// Logs in and starts the sessions. A PIN is asked for only where there is no keypad on the token.
    pub(super) fn open(&self, sessions: NonZeroUsize) -> anyhow::Result<Token> {
        let keypad = pin_state(&self.module, &self.info)?.protected_authentication_path;
        let pin = (!keypad || self.pin != PinSource::Prompt).then(|| self.pin.clone());
        let select = TokenSelect::Slot(self.info.slot);
        let mut settings = TokenSettings::new("command line", &self.module, select);
        settings.pin = pin;
        settings.sessions = Sessions::Count(sessions);
        settings.deadline = DEADLINE;
        settings.hang_timeout = DEADLINE;
        settings.idle_check = None;
        // A PIN that was refused here is not tried by the gateway either, and the other way round.
        settings.state_dir = Some(state_dir(None));
        Ok(Token::open(settings)?)
    }

    pub(super) fn module(&self) -> &Path {
        &self.module
    }

    /// The arguments that name the token in the next command.
    pub(super) fn arguments(&self) -> String {
        common(&self.module, &self.info, &self.pin)
    }
}

impl Kind {
    /// The kind of a key pair; `None` for a key that wraps and for a secret.
    pub(super) fn pair(self) -> Option<KeyKind> {
        match self {
            Kind::P256 => Some(KeyKind::EcdsaP256),
            Kind::P384 => Some(KeyKind::EcdsaP384),
            Kind::P521 => Some(KeyKind::EcdsaP521),
            Kind::Rsa2048 => Some(KeyKind::Rsa { bits: 2048 }),
            Kind::Rsa3072 => Some(KeyKind::Rsa { bits: 3072 }),
            Kind::Rsa4096 => Some(KeyKind::Rsa { bits: 4096 }),
            Kind::Ed25519 => Some(KeyKind::Ed25519),
            Kind::Aes256 | Kind::Secret => None,
        }
    }
}

pub(super) fn pin_source(text: &str) -> anyhow::Result<PinSource> {
    text.parse().map_err(|error| Refusal::Usage(error).into())
}

pub(super) fn hex(text: &str) -> Result<Id, String> {
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

/// The arguments that name a token.
pub(super) fn common(module: &Path, token: &TokenInfo, pin: &PinSource) -> String {
    let module = quote(&module.display().to_string());
    let label = quote(&token.label);
    format!(
        "--module {module} --token {label} --pin {}",
        quote(&pin.to_string())
    )
}

/// A word of a shell command: a URI has `;` and `?` in it.
pub(super) fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// A TOML basic string.
pub(super) fn toml_text(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Writes a file that must not exist.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut file =
        File::create_new(path).with_context(|| format!("cannot create {}", path.display()))?;
    file.write_all(bytes)
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::{Id, hex, quote};

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
