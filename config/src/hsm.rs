//! `[hsm.NAME]`: a PKCS#11 token, how hard it may be driven, and how patiently it is brought back.
//!
//! A token is reached through a module or through a signer, never both: [`HsmSource`] holds for each what
//! belongs to it alone.

mod select;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::Located;
use crate::check::{Check, Span};
use crate::value::{CountText, DurationText, Number};

pub(crate) use self::select::parse_source;
pub use self::select::{PinSource, TokenSelector};

/// One token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hsm {
    /// NAME of the table.
    pub name: String,
    /// What leads to the token.
    pub source: HsmSource,
    /// Signatures in parallel. Default auto.
    pub sessions: Sessions,
    /// Signatures that may wait for a session. Default auto.
    pub queue: QueueBound,
    /// How long one signature may take, waiting included. Default 2 s.
    pub deadline: Duration,
    /// How long one call inside the module may take before it is written off. Default 1 s.
    pub hang_timeout: Duration,
    /// Sessions that may hang at once. Default 16.
    pub max_hung: NonZeroUsize,
    /// After this long without a signature the token is asked whether it is well; `None` is never.
    /// Default 10 s.
    pub idle_check: Option<Duration>,
    /// Longest pause between two tries to bring an absent token back. Default 500 ms.
    pub recovery: Duration,
}

/// What leads to a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HsmSource {
    /// A PKCS#11 library.
    Module(ModuleSource),
    /// A signer process that runs already (`portcullis hsm serve`).
    Signer(SignerSource),
}

/// A token behind a PKCS#11 library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleSource {
    /// The PKCS#11 library.
    pub module: Located<PathBuf>,
    /// In which process it is loaded. Default [`Isolation::default_for`].
    pub isolation: Isolation,
    /// Which token of the module.
    pub token: Located<TokenSelector>,
    /// Where the user PIN comes from; `None` when the token needs none.
    pub pin: Option<Located<PinSource>>,
    /// Log in although the token says that few PIN tries are left. Default false.
    pub login_at_count_low: bool,
}

/// A token behind a signer; PIN and module are the signer's own business.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignerSource {
    /// The signer's unix socket.
    pub socket: Located<PathBuf>,
    /// Which token of the signer; `None` when it has one only.
    pub token: Option<Located<TokenSelector>>,
}

/// How many signatures are made in parallel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sessions {
    /// Found by a short measurement when the token is opened, within what the token allows.
    Auto,
    /// So many.
    Count(NonZeroUsize),
}

/// How many signatures may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueBound {
    /// What the token can sign within the deadline.
    Auto,
    /// So many.
    Count(NonZeroUsize),
}

/// In which process a module is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// In the gateway.
    None,
    /// In a signer process of its own.
    Process,
}

impl Isolation {
    /// What holds when nothing is written: a process of its own, for a crash or a hang inside the library then
    /// costs no connection, and a tenth more CPU for each full handshake is all it costs. A PIN that can be read
    /// only once would be gone when that process is started again, so such a token is in the gateway.
    pub fn default_for(pin: Option<&PinSource>) -> Self {
        match pin {
            Some(PinSource::Fd(_) | PinSource::Prompt) => Isolation::None,
            _ => Isolation::Process,
        }
    }

    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Isolation::None => "none",
            Isolation::Process => "process",
        }
    }
}

impl Hsm {
    /// The module, unless the token is behind a signer.
    pub fn module(&self) -> Option<&ModuleSource> {
        match &self.source {
            HsmSource::Module(source) => Some(source),
            HsmSource::Signer(_) => None,
        }
    }

    /// Which token is meant; `None` when a signer has only one.
    pub fn token(&self) -> Option<&Located<TokenSelector>> {
        match &self.source {
            HsmSource::Module(source) => Some(&source.token),
            HsmSource::Signer(source) => source.token.as_ref(),
        }
    }

    /// Where to report that the token cannot be opened.
    pub fn place(&self) -> &Span {
        match &self.source {
            HsmSource::Module(source) => &source.token.span,
            HsmSource::Signer(source) => &source.socket.span,
        }
    }
}

/// `[hsm.NAME]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawHsm {
    /// Path of the PKCS#11 library. This or `signer` is required.
    module: Option<Located<String>>,
    /// Where the library is loaded: `none` is in the gateway, `process` in a signer process of its own, so
    /// that a crash inside it does not end the gateway.
    isolation: Option<Located<Isolation>>,
    /// Unix socket of a running `portcullis hsm serve`, instead of `module`, `pin` and `isolation`.
    signer: Option<Located<String>>,
    /// Slot id of the token. Slot ids can change when tokens are added; prefer `token` or `serial`.
    slot: Option<Located<Number>>,
    /// Label of the token.
    token: Option<Located<String>>,
    /// Serial number of the token.
    serial: Option<Located<String>>,
    /// Where the user PIN comes from: `file:PATH`, `env:NAME`, `credential:NAME` (systemd), `fd:N` or
    /// `prompt`. Never the PIN itself. Without it the token is used without login.
    pin: Option<Located<String>>,
    /// Log in although the token says that few PIN tries are left.
    login_at_count_low: Option<Located<bool>>,
    /// Sessions (and threads) that sign in parallel; `auto` measures when the token is opened.
    sessions: Option<Located<CountText>>,
    /// Signatures that may wait for a session; `auto` is what the token can sign within `deadline`.
    queue: Option<Located<CountText>>,
    /// How long one signature may take, waiting included.
    deadline: Option<Located<DurationText>>,
    /// A call inside the PKCS#11 library that takes longer is written off and its session replaced.
    hang_timeout: Option<Located<DurationText>>,
    /// Sessions that may hang at once; when more do, the token counts as away until calls return.
    max_hung: Option<Located<Number>>,
    /// A token that signed nothing for this long is asked for its state and a signature; or `off`.
    idle_check: Option<Located<DurationText>>,
    /// Longest pause between two tries to bring an absent token back.
    recovery: Option<Located<DurationText>>,
}

/// Sessions that no token offers, hanging ones included.
const SESSIONS_MAX: usize = 1024;
/// Waiting signatures beyond any deadline.
const QUEUE_MAX: usize = 1 << 20;
/// The longest wait for a token.
const WAIT_MAX: Duration = Duration::from_secs(3600);

impl RawHsm {
    /// `table` is the header, `handshake` the bound every signature must keep.
    pub(crate) fn check(
        mut self,
        check: &mut Check<'_>,
        name: &Located<String>,
        table: &Span,
        handshake: Duration,
    ) -> Option<Hsm> {
        let source = self.source(check, table);
        let sessions = check.count_or_auto(self.sessions, 1..=SESSIONS_MAX);
        let queue = check.count_or_auto(self.queue, 1..=QUEUE_MAX);
        let place = self
            .deadline
            .as_ref()
            .map_or(table, |text| &text.span)
            .clone();
        let second = Duration::from_secs(1);
        let millisecond = Duration::from_millis(1);
        let deadline = check.duration(self.deadline, 2 * second, millisecond..=WAIT_MAX);
        if deadline > handshake {
            check
                .error(&place, "the deadline of a signature is longer than `timeouts.handshake`")
                .help("a handshake would end before its signature: lower this or raise `timeouts.handshake`");
        }
        let hang_timeout = check.duration(self.hang_timeout, second, 10 * millisecond..=WAIT_MAX);
        let max_hung = check.count(self.max_hung, 16, 1..=SESSIONS_MAX);
        let day = Duration::from_secs(86_400);
        let idle_check =
            check.duration_or_off(self.idle_check, Some(10 * second), 10 * millisecond..=day);
        let bounds = 50 * millisecond..=60 * second;
        let recovery = check.duration(self.recovery, 500 * millisecond, bounds);
        Some(Hsm {
            name: name.value.clone(),
            source: source?,
            sessions: sessions.map_or(Sessions::Auto, Sessions::Count),
            queue: queue.map_or(QueueBound::Auto, QueueBound::Count),
            deadline,
            hang_timeout,
            max_hung: NonZeroUsize::new(max_hung)?,
            idle_check,
            recovery,
        })
    }

    fn source(&mut self, check: &mut Check<'_>, table: &Span) -> Option<HsmSource> {
        let token = select::selector(
            check,
            self.slot.take(),
            self.token.take(),
            self.serial.take(),
        );
        if let Some(signer) = self.signer.take() {
            self.not_beside(check, &signer.span);
            let socket = check.path(&signer);
            return Some(HsmSource::Signer(SignerSource { socket, token }));
        }
        // A signer that could not be read may be all there is.
        let signer_lost = check.lost_key(table, "signer");
        if self.module.is_none() && !signer_lost && !check.lost_key(table, "module") {
            check.error(table, "`module` is missing").help(
                "write the PKCS#11 library as `module`, or the socket of a signer as `signer`",
            );
        }
        if token.is_none() && !signer_lost {
            select::no_token(check, table);
        }
        let module = self.module.take().map(|text| check.path(&text));
        let pin = self.pin.take();
        let pin = pin.and_then(|text| select::pin_source(check, &text));
        let isolation = self.isolation(check, pin.as_ref());
        Some(HsmSource::Module(ModuleSource {
            module: module?,
            isolation,
            token: token?,
            pin,
            login_at_count_low: self
                .login_at_count_low
                .as_ref()
                .is_some_and(|low| low.value),
        }))
    }

    fn isolation(&self, check: &mut Check<'_>, pin: Option<&Located<PinSource>>) -> Isolation {
        let usual = Isolation::default_for(pin.map(|pin| &pin.value));
        let Some(written) = &self.isolation else {
            return usual;
        };
        if let (Isolation::Process, Isolation::None, Some(pin)) = (written.value, usual, pin) {
            check
                .error(
                    &written.span,
                    "a signer process that is started again could not read this PIN again",
                )
                .related(&pin.span, "the PIN can be read only once")
                .help("use `file:`, `credential:` or `env:`, or `isolation = \"none\"`");
        }
        written.value
    }

    /// Reports what only the signer itself can be told.
    fn not_beside(&self, check: &mut Check<'_>, signer: &Span) {
        let places = [
            ("module", self.module.as_ref().map(|text| &text.span)),
            ("isolation", self.isolation.as_ref().map(|text| &text.span)),
            ("pin", self.pin.as_ref().map(|text| &text.span)),
            (
                "login_at_count_low",
                self.login_at_count_low.as_ref().map(|text| &text.span),
            ),
        ];
        for (key, span) in places {
            if let Some(span) = span {
                check
                    .error(span, format!("`{key}` and `signer` exclude each other"))
                    .help("the signer has loaded its module and logged in already: keep one of the two ways")
                    .related(signer, "the signer");
            }
        }
    }
}
