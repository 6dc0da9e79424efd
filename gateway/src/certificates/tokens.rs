//! The tokens and groups of a configuration, open, and where a key is looked for.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use portcullis_config::{
    Config, Hsm, HsmRef, HsmSource, ModuleSource, PinSource, QueueBound, Sessions, TokenSelector,
};
use portcullis_hsm::uri::Pkcs11Uri;
use portcullis_hsm::{
    Extractable, Group, HsmError, Isolation, Key, Secret, Token, TokenSelect, TokenSettings, pin,
};
use rustls_pki_types::CertificateDer;

/// Where the gateway keeps what outlives it, when neither the configuration nor systemd says so.
const STATE_DIR: &str = "/var/lib/portcullis";

/// Open tokens and the groups of them, in the order of the configuration.
#[derive(Debug, Clone, Default)]
pub struct Tokens {
    tokens: Vec<Token>,
    groups: Vec<Group>,
}

/// What holds the keys of a certificate.
#[derive(Debug, Clone, Copy)]
pub(super) enum Holder<'a> {
    Token(&'a Token),
    Group(&'a Group),
}

impl Tokens {
    /// Opens the configured tokens, one after another; those of `open` whose settings did not change are
    /// taken over with their sessions. A member of a group may be away. `failed` is told each token that
    /// cannot be opened.
    pub fn open(
        config: &Config,
        open: &Self,
        mut failed: impl FnMut(&Hsm, HsmError),
    ) -> Option<Self> {
        let state_dir = state_dir(config.state_dir.as_deref());
        let grouped = |at: usize| {
            config
                .hsm_groups
                .iter()
                .any(|group| group.members.contains(&at))
        };
        let mut tokens = Vec::with_capacity(config.hsms.len());
        for (at, hsm) in config.hsms.iter().enumerate() {
            let settings = token_settings(hsm, &state_dir);
            let known = open
                .tokens
                .iter()
                .find(|token| *token.settings() == settings);
            let opened = match known {
                Some(token) => Ok(token.clone()),
                None if grouped(at) => Token::open_or_away(settings),
                None => Token::open(settings),
            };
            match opened {
                Ok(token) => tokens.push(token),
                Err(error) => failed(hsm, error),
            }
        }
        if tokens.len() < config.hsms.len() {
            return None;
        }
        let groups = config.hsm_groups.iter().map(|group| {
            let members: Vec<Token> = group.members.iter().map(|at| tokens[*at].clone()).collect();
            open.unchanged(&group.name, &members, group.hedge)
                .unwrap_or_else(|| Group::new(&group.name, members, group.hedge))
        });
        Some(Self {
            groups: groups.collect(),
            tokens,
        })
    }

    /// The open tokens.
    pub fn iter(&self) -> impl Iterator<Item = &Token> {
        self.tokens.iter()
    }

    /// The groups.
    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.iter()
    }

    /// The group that a token is a member of.
    pub fn group_of(&self, token: &Token) -> Option<&Group> {
        let name = &token.settings().name;
        let has = |group: &&Group| {
            let mut members = group.members().iter();
            members.any(|member| member.settings().name == *name)
        };
        self.groups.iter().find(has)
    }

    /// Measures how many sessions each token works in parallel, where the configuration leaves that open and
    /// it was not done before. Needs keys that were found. A token that cannot be measured keeps two.
    pub fn tune(&self) {
        for token in &self.tokens {
            if token.settings().sessions != portcullis_hsm::Sessions::Auto || token.is_tuned() {
                continue;
            }
            let hsm = &token.settings().name;
            match token.tune() {
                Ok(sessions) => tracing::info!(hsm, sessions, "measured"),
                Err(error) => tracing::warn!(hsm, %error, "not measured: two sessions"),
            }
        }
    }

    /// The secret that `uri` names, to derive from. One that can leave its token must be among those of
    /// `[keys] extractable`.
    ///
    /// # Errors
    /// Why it cannot be derived from.
    pub fn secret(
        &self,
        config: &Config,
        place: HsmRef,
        uri: &Pkcs11Uri,
    ) -> Result<Secret, HsmError> {
        let extractable = if config.keys.extractable.contains(uri) {
            Extractable::Allow
        } else {
            Extractable::Refuse
        };
        match self.holder(Some(place)) {
            Some(Holder::Token(token)) => token.secret(uri, extractable),
            Some(Holder::Group(group)) => group.secret(uri, extractable),
            None => Err(HsmError::TokenSelection {
                wanted: format!("the attributes of {uri}"),
                candidates: Vec::new(),
            }),
        }
    }

    pub(super) fn holder(&self, place: Option<HsmRef>) -> Option<Holder<'_>> {
        match place? {
            HsmRef::Token(index) => self.tokens.get(index).map(Holder::Token),
            HsmRef::Group(index) => self.groups.get(index).map(Holder::Group),
        }
    }

    /// A group goes on counting over a reload that does not touch it.
    fn unchanged(
        &self,
        name: &str,
        members: &[Token],
        hedge: Option<std::time::Duration>,
    ) -> Option<Group> {
        let same = |group: &&Group| {
            let names = |tokens: &[Token]| -> Vec<TokenSettings> {
                tokens
                    .iter()
                    .map(|token| token.settings().clone())
                    .collect()
            };
            group.name() == name
                && group.hedge() == hedge
                && names(group.members()) == names(members)
        };
        self.groups.iter().find(same).cloned()
    }
}

impl Holder<'_> {
    pub(super) fn key(self, uri: &Pkcs11Uri, extractable: Extractable) -> Result<Key, HsmError> {
        match self {
            Holder::Token(token) => token.key(uri, extractable),
            Holder::Group(group) => group.key(uri, extractable),
        }
    }

    pub(super) fn chain(self, uri: &Pkcs11Uri) -> Result<Vec<CertificateDer<'static>>, HsmError> {
        match self {
            Holder::Token(token) => token.chain(uri),
            Holder::Group(group) => group.chain(uri),
        }
    }
}

/// Opens a token for one command, in this process and with one session.
///
/// # Errors
/// As [`Token::open`]. A token behind a signer is not opened: its PIN is the signer's.
pub fn open_alone(hsm: &Hsm, state_dir: &Path) -> Result<Token, HsmError> {
    let mut settings = token_settings(hsm, state_dir);
    if let Isolation::Process { .. } = settings.isolation {
        settings.isolation = Isolation::None;
    }
    settings.sessions = portcullis_hsm::Sessions::Count(NonZeroUsize::MIN);
    settings.idle_check = None;
    Token::open(settings)
}

/// The folder for what outlives the process: the configured one, systemd's (`StateDirectory=`), or the
/// usual one.
pub fn state_dir(configured: Option<&Path>) -> PathBuf {
    match configured {
        Some(folder) => folder.to_owned(),
        None => std::env::var_os("STATE_DIRECTORY").map_or_else(|| STATE_DIR.into(), PathBuf::from),
    }
}

/// Makes sure that the folder is there and can be written, so that a refused PIN is remembered.
///
/// # Errors
/// What the system said.
pub fn prepare_state_dir(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    tempfile_in(folder)
}

/// A file that is made and removed again.
fn tempfile_in(folder: &Path) -> std::io::Result<()> {
    let probe = folder.join(format!(".probe-{}", std::process::id()));
    std::fs::File::create(&probe)?;
    std::fs::remove_file(probe)
}

fn token_settings(hsm: &Hsm, state_dir: &Path) -> TokenSettings {
    let unnamed = TokenSelect::Label(String::new());
    let mut settings = match &hsm.source {
        HsmSource::Module(source) => {
            let select = select(&source.token.value);
            TokenSettings::new(&hsm.name, &source.module.value, select)
        }
        HsmSource::Signer(source) => {
            let select = source.token.as_ref().map(|token| select(&token.value));
            TokenSettings::new(&hsm.name, Path::new(""), select.unwrap_or(unnamed))
        }
    };
    match &hsm.source {
        HsmSource::Module(source) => add_module(&mut settings, source, state_dir),
        HsmSource::Signer(source) => {
            settings.isolation = Isolation::Socket(source.socket.value.clone());
        }
    }
    settings.sessions = match hsm.sessions {
        Sessions::Auto => portcullis_hsm::Sessions::Auto,
        Sessions::Count(count) => portcullis_hsm::Sessions::Count(count),
    };
    settings.queue = match hsm.queue {
        QueueBound::Auto => portcullis_hsm::QueueBound::Auto,
        QueueBound::Count(count) => portcullis_hsm::QueueBound::Count(count),
    };
    settings.deadline = hsm.deadline;
    settings.hang_timeout = hsm.hang_timeout;
    settings.max_hung = hsm.max_hung;
    settings.idle_check = hsm.idle_check;
    settings.recovery = hsm.recovery;
    settings
}

fn add_module(settings: &mut TokenSettings, source: &ModuleSource, state_dir: &Path) {
    settings.pin = source.pin.as_ref().map(|pin| match &pin.value {
        PinSource::File(path) => pin::PinSource::File(path.clone()),
        PinSource::Env(name) => pin::PinSource::Env(name.clone()),
        PinSource::Credential(name) => pin::PinSource::Credential(name.clone()),
        PinSource::Fd(fd) => pin::PinSource::Fd(*fd),
        PinSource::Prompt => pin::PinSource::Prompt,
    });
    settings.login_at_count_low = source.login_at_count_low;
    settings.state_dir = Some(state_dir.to_owned());
    settings.isolation = match source.isolation {
        portcullis_config::Isolation::None => Isolation::None,
        portcullis_config::Isolation::Process => Isolation::Process {
            // By its inode, so that it is this program also after an update replaced the file.
            program: PathBuf::from("/proc/self/exe"),
            arguments: vec!["hsm".to_owned(), "serve".to_owned()],
        },
    };
}

fn select(selector: &TokenSelector) -> TokenSelect {
    match selector {
        TokenSelector::Slot(slot) => TokenSelect::Slot(*slot),
        TokenSelector::Label(label) => TokenSelect::Label(label.clone()),
        TokenSelector::Serial(serial) => TokenSelect::Serial(serial.clone()),
    }
}
