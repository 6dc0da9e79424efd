//! The gateway's end: starting the signer process, and sessions that are connections to it.

use std::ffi::OsString;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustls::pki_types::CertificateDer;

use super::protocol::{Ask, Frames, Reply};
use crate::error::HsmError;
use crate::key::KeyInfo;
use crate::link::{
    DeriveRequest, Description, FoundKey, FoundSecret, KeyName, SecretName, SignRequest,
};
use crate::secret::Generation;
use crate::settings::TokenSettings;
use crate::slots::TokenSelect;
use crate::uri::Pkcs11Uri;

/// The way to a signer process.
pub(crate) enum Remote {
    /// One that is started here.
    Spawned(Spawner),
    /// One that listens on this socket.
    At(PathBuf),
}

/// Starts a signer process, and again when it has ended.
pub(crate) struct Spawner {
    program: PathBuf,
    arguments: Vec<OsString>,
    running: Mutex<Option<Running>>,
}

struct Running {
    child: Child,
    /// Takes new connections; the signer ends when it closes.
    control: UnixStream,
}

/// A session: a connection to the signer.
pub(crate) struct Session {
    frames: Frames<Arc<UnixStream>>,
    /// Numbers of keys and secrets that the signer knows on this connection.
    known: Vec<u64>,
}

impl Remote {
    pub(crate) fn spawned(program: &Path, first: &[String], settings: &TokenSettings) -> Self {
        let mut arguments: Vec<OsString> = first.iter().map(Into::into).collect();
        arguments.push("--inherited".into());
        arguments.extend(token_arguments(settings));
        Remote::Spawned(Spawner::new(program, arguments))
    }

    pub(crate) fn at(socket: &Path) -> Self {
        Remote::At(socket.to_owned())
    }

    pub(crate) fn open(&self) -> Result<Session, HsmError> {
        let stream = match self {
            Remote::Spawned(spawner) => {
                let (ours, theirs) = UnixStream::pair().map_err(lost)?;
                spawner.hand_over(theirs)?;
                ours
            }
            Remote::At(socket) => connect(socket)?,
        };
        let mut session = Session {
            frames: Frames::new(Arc::new(stream)),
            known: Vec::new(),
        };
        match session.answer()? {
            Reply::Opened => Ok(session),
            other => Err(unexpected(&other)),
        }
    }

    pub(crate) fn restart(&self) -> Result<(), HsmError> {
        match self {
            Remote::Spawned(spawner) => spawner.restart(),
            Remote::At(socket) => {
                let mut frames = Frames::new(Arc::new(connect(socket)?));
                frames.send(&Ask::Restart).map_err(lost)
            }
        }
    }
}

fn connect(socket: &Path) -> Result<UnixStream, HsmError> {
    UnixStream::connect(socket).map_err(|error| HsmError::SignerLost {
        reason: format!("{}: {error}", socket.display()),
    })
}

/// The arguments that name module, token and PIN source; none of them is secret.
fn token_arguments(settings: &TokenSettings) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec!["--module".into(), (&settings.module).into()];
    let (option, value) = match &settings.select {
        TokenSelect::Slot(slot) => ("--slot", slot.to_string()),
        TokenSelect::Label(label) => ("--token", label.clone()),
        TokenSelect::Serial(serial) => ("--serial", serial.clone()),
    };
    // In one word, so that a label that begins with a dash is no option.
    arguments.push(format!("{option}={value}").into());
    if let Some(pin) = &settings.pin {
        arguments.push(format!("--pin={pin}").into());
    }
    if settings.login_at_count_low {
        arguments.push("--login-at-count-low".into());
    }
    if let Some(folder) = &settings.state_dir {
        arguments.extend(["--state-dir".into(), folder.into()]);
    }
    arguments
}

impl Spawner {
    pub(super) fn new(program: &Path, arguments: Vec<OsString>) -> Self {
        Spawner {
            program: program.to_owned(),
            arguments,
            running: Mutex::new(None),
        }
    }

    /// Passes a connection to the signer process, which is started if there is none.
    pub(super) fn hand_over(&self, connection: UnixStream) -> Result<(), HsmError> {
        let mut running = self.lock();
        let running = match &mut *running {
            Some(running) => running,
            none => none.insert(self.start()?),
        };
        send(&running.control, connection.into()).map_err(|error| lost(error.into()))
    }

    /// Ends the process, whatever it is doing, and starts another.
    pub(super) fn restart(&self) -> Result<(), HsmError> {
        let mut running = self.lock();
        *running = None;
        *running = Some(self.start()?);
        Ok(())
    }

    /// No fork of this process runs on: the child is the program from its first instruction.
    fn start(&self) -> Result<Running, HsmError> {
        let (control, theirs) = UnixStream::pair().map_err(lost)?;
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| HsmError::SignerLost {
                reason: format!("cannot start {}: {error}", self.program.display()),
            })?;
        Ok(Running { child, control })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may hang in the module, so it is not asked. Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a descriptor (`SCM_RIGHTS`) with one byte.
fn send(control: &UnixStream, descriptor: OwnedFd) -> rustix::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor.as_fd()];
    // There is room for one.
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    let bytes = [IoSlice::new(b"c")];
    sendmsg(control, &bytes, &mut ancillary, SendFlags::NOSIGNAL).map(drop)
}

impl Session {
    pub(crate) fn describe(&mut self) -> Result<Description, HsmError> {
        match self.ask(&Ask::Describe)? {
            Reply::Described(description) => Ok(description),
            other => Err(unexpected(&other)),
        }
    }

    pub(crate) fn sign(&mut self, request: &SignRequest) -> Result<Vec<u8>, HsmError> {
        let number = self.introduce(&request.key)?;
        let ask = Ask::Sign {
            number,
            mechanism: request.mechanism,
            data: request.data.clone(),
        };
        match self.ask(&ask)? {
            Reply::Signature(signature) => Ok(signature),
            other => Err(unexpected(&other)),
        }
    }

    pub(crate) fn find(&mut self, uri: &Pkcs11Uri) -> Result<FoundKey, HsmError> {
        match self.ask(&Ask::Find(uri.to_string()))? {
            Reply::Found(found) => Ok(found),
            other => Err(unexpected(&other)),
        }
    }

    pub(crate) fn list(&mut self) -> Result<Vec<KeyInfo>, HsmError> {
        match self.ask(&Ask::List)? {
            Reply::Keys(keys) => Ok(keys),
            other => Err(unexpected(&other)),
        }
    }

    pub(crate) fn chain(
        &mut self,
        uri: &Pkcs11Uri,
    ) -> Result<Vec<CertificateDer<'static>>, HsmError> {
        match self.ask(&Ask::Chain(uri.to_string()))? {
            Reply::Chain(chain) => Ok(chain.into_iter().map(CertificateDer::from).collect()),
            other => Err(unexpected(&other)),
        }
    }

    pub(crate) fn derive(&mut self, request: &DeriveRequest) -> Result<Vec<u8>, HsmError> {
        let number = self.introduce_secret(&request.secret)?;
        let context = request.context.clone();
        match self.ask(&Ask::Derive { number, context })? {
            Reply::Derived(derived) => Ok(derived),
            other => Err(unexpected(&other)),
        }
    }

    pub(crate) fn find_secret(&mut self, uri: &Pkcs11Uri) -> Result<FoundSecret, HsmError> {
        match self.ask(&Ask::FindSecret(uri.to_string()))? {
            Reply::FoundSecret(found) => Ok(found),
            other => Err(unexpected(&other)),
        }
    }

    pub(crate) fn generation(&mut self, uri: &Pkcs11Uri) -> Result<Generation, HsmError> {
        match self.ask(&Ask::Generation(uri.to_string()))? {
            Reply::Generation(generation) => Ok(generation),
            other => Err(unexpected(&other)),
        }
    }

    /// The connection; shutting it down ends a call that waits for an answer.
    pub(crate) fn stream(&self) -> Arc<UnixStream> {
        Arc::clone(self.frames.stream())
    }

    fn introduce(&mut self, key: &KeyName) -> Result<u64, HsmError> {
        self.introduce_once(key.number, || Ask::Know {
            number: key.number,
            uri: key.uri.to_string(),
            spki: key.spki.clone(),
        })
    }

    fn introduce_secret(&mut self, secret: &SecretName) -> Result<u64, HsmError> {
        self.introduce_once(secret.number, || Ask::KnowSecret {
            number: secret.number,
            uri: secret.uri.to_string(),
            check: secret.check,
        })
    }

    fn introduce_once(&mut self, number: u64, ask: impl FnOnce() -> Ask) -> Result<u64, HsmError> {
        if !self.known.contains(&number) {
            match self.ask(&ask())? {
                Reply::Known => self.known.push(number),
                other => return Err(unexpected(&other)),
            }
        }
        Ok(number)
    }

    fn ask(&mut self, ask: &Ask) -> Result<Reply, HsmError> {
        self.frames.send(ask).map_err(lost)?;
        self.answer()
    }

    fn answer(&mut self) -> Result<Reply, HsmError> {
        match self.frames.receive().map_err(lost)? {
            Some(Reply::Failed { class, message }) => Err(HsmError::Signer { class, message }),
            Some(reply) => Ok(reply),
            None => Err(HsmError::SignerLost {
                reason: "it ended the connection".to_owned(),
            }),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Whoever watches over hung calls has the descriptor too, so dropping ours would not close it. It
        // fails only where the signer has gone.
        let _ = self.frames.stream().shutdown(std::net::Shutdown::Both);
    }
}

fn lost(error: std::io::Error) -> HsmError {
    HsmError::SignerLost {
        reason: error.to_string(),
    }
}

fn unexpected(reply: &Reply) -> HsmError {
    let what = match reply {
        Reply::Opened => "opened",
        Reply::Described(_) => "described",
        Reply::Found(_) => "found",
        Reply::Keys(_) => "keys",
        Reply::Chain(_) => "chain",
        Reply::Known => "known",
        Reply::Signature(_) => "signature",
        Reply::FoundSecret(_) => "found secret",
        Reply::Derived(_) => "derived",
        Reply::Generation(_) => "generation",
        Reply::Failed { .. } => "failed",
    };
    HsmError::SignerLost {
        reason: format!("its answer `{what}` is to another question"),
    }
}
