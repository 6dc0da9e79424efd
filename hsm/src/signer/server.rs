//! The signer's end: connections from a gateway, each with a session of its own.

use std::collections::HashMap;
use std::fs::{self, Permissions};
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg, sockopt};
use rustix::process::{Signal, getpid, kill_process};

use super::protocol::{Ask, Frames, Reply};
use super::remote::{Remote, Spawner};
use crate::error::HsmError;
use crate::link::{DeriveRequest, KeyName, Link, SecretName, Session, SignRequest};
use crate::settings::TokenSettings;
use crate::token::local;
use crate::uri::Pkcs11Uri;

/// Connections at once: every session of every gateway, and those that hang.
const MAX_CONNECTIONS: usize = 2048;

/// How long a signer whose gateway has gone waits for its sessions to close.
const LEAVE_WAIT: Duration = Duration::from_secs(1);

/// Serves connections that come over the socket at descriptor 0, until it closes. The module is loaded in
/// this process; whoever started it holds the other end.
///
/// # Errors
/// When descriptor 0 is no socket.
pub fn serve_inherited(settings: &TokenSettings) -> io::Result<()> {
    let control = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let link = Arc::new(Link::Local(local(settings)));
    let open = Arc::new(AtomicUsize::new(0));
    while let Some(connection) = next_connection(&control)? {
        if open.load(Ordering::Relaxed) >= MAX_CONNECTIONS {
            continue; // Dropped: the gateway sees the end of it.
        }
        let (link, place) = (Arc::clone(&link), Place::take(&open));
        let serve = move || {
            let _place = place;
            // A gateway that went away is none of the signer's business.
            let _ = serve_connection(&link, connection);
        };
        thread::Builder::new()
            .name("signer".to_owned())
            .spawn(serve)?;
    }
    let end = Instant::now() + LEAVE_WAIT;
    while open.load(Ordering::Relaxed) > 0 {
        if Instant::now() >= end {
            die();
        }
        thread::park_timeout(Duration::from_millis(5));
    }
    Ok(())
}

/// Listens on a unix socket and passes connections of the allowed users to a signer process, which is
/// started again when it ends. This process never loads the module.
///
/// # Errors
/// When the socket cannot be made, or no longer takes connections.
pub fn serve_socket(
    socket: &Path,
    allowed_uids: &[u32],
    (program, arguments): (PathBuf, Vec<String>),
    settings: &TokenSettings,
) -> io::Result<()> {
    let Remote::Spawned(spawner) = Remote::spawned(&program, &arguments, settings) else {
        return Err(io::Error::other("the signer is not started here"));
    };
    let listener = listen(socket, !allowed_uids.is_empty())?;
    let own = rustix::process::geteuid().as_raw();
    for connection in listener.incoming() {
        let connection = connection?;
        let uid = sockopt::socket_peercred(&connection)?.uid.as_raw();
        if uid != 0 && uid != own && !allowed_uids.contains(&uid) {
            continue; // Closed unheard.
        }
        pass_on(&spawner, connection)?;
    }
    Ok(())
}

/// Twice, for a signer that has ended is noticed only when it is given something.
fn pass_on(spawner: &Spawner, connection: UnixStream) -> io::Result<()> {
    if spawner.hand_over(connection.try_clone()?).is_err() {
        let again = spawner
            .restart()
            .and_then(|()| spawner.hand_over(connection));
        // The gateway sees the end of its connection, and tries again later.
        drop(again);
    }
    Ok(())
}

/// The socket: for its owner alone, or open to all where the list of users says who is heard. A stale one is
/// replaced, one that somebody listens on is not.
fn listen(socket: &Path, others: bool) -> io::Result<UnixListener> {
    if UnixStream::connect(socket).is_ok() {
        let taken = format!("{}: another signer listens here", socket.display());
        return Err(io::Error::new(io::ErrorKind::AddrInUse, taken));
    }
    if let Ok(meta) = fs::symlink_metadata(socket)
        && std::os::unix::fs::FileTypeExt::is_socket(&meta.file_type())
    {
        fs::remove_file(socket)?;
    }
    let listener = UnixListener::bind(socket)?;
    let mode = if others { 0o666 } else { 0o600 };
    fs::set_permissions(socket, Permissions::from_mode(mode))?;
    Ok(listener)
}

/// The next connection that is passed (`SCM_RIGHTS`); `None` when the other end is closed.
fn next_connection(control: &UnixStream) -> io::Result<Option<UnixStream>> {
    loop {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let mut bytes = [IoSliceMut::new(&mut byte)];
        let received = match recvmsg(control, &mut bytes, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other?,
        };
        if received.bytes == 0 {
            return Ok(None);
        }
        let descriptors = ancillary.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        });
        let first: Option<OwnedFd> = descriptors.flatten().next();
        if let Some(descriptor) = first {
            return Ok(Some(UnixStream::from(descriptor)));
        }
    }
}

fn serve_connection(link: &Link, stream: UnixStream) -> io::Result<()> {
    let mut frames = Frames::new(Arc::new(stream));
    let mut session = match link.open() {
        Ok(session) => session,
        Err(error) => return frames.send(&Reply::failed(&error)),
    };
    frames.send(&Reply::Opened)?;
    let mut known = Known::default();
    while let Some(ask) = frames.receive()? {
        match answer(&mut session, &mut known, ask) {
            Ok(reply) => frames.send(&reply)?,
            // A session that returned an error is never used again.
            Err(error) => return frames.send(&Reply::failed(&error)),
        }
    }
    Ok(())
}

/// What a gateway has introduced on its connection, by number.
#[derive(Default)]
struct Known {
    keys: HashMap<u64, Arc<KeyName>>,
    secrets: HashMap<u64, Arc<SecretName>>,
}

fn uri(text: &str) -> Result<Pkcs11Uri, HsmError> {
    text.parse().map_err(HsmError::from)
}

fn not_introduced(what: &str) -> HsmError {
    HsmError::Interface(format!("a {what} that was not introduced"))
}

fn answer(session: &mut Session, known: &mut Known, ask: Ask) -> Result<Reply, HsmError> {
    match ask {
        Ask::Describe => session.describe().map(Reply::Described),
        Ask::Find(text) => uri(&text)
            .and_then(|uri| session.find(&uri))
            .map(Reply::Found),
        Ask::List => session.list().map(Reply::Keys),
        Ask::Chain(text) => uri(&text)
            .and_then(|uri| session.chain(&uri))
            .map(|chain| Reply::Chain(chain.into_iter().map(|one| one.to_vec()).collect())),
        Ask::Know {
            number,
            uri: text,
            spki,
        } => uri(&text).map(|uri| {
            known
                .keys
                .insert(number, Arc::new(KeyName { number, uri, spki }));
            Reply::Known
        }),
        Ask::Sign {
            number,
            mechanism,
            data,
        } => {
            let key = known.keys.get(&number);
            let key = Arc::clone(key.ok_or_else(|| not_introduced("key"))?);
            let request = SignRequest {
                key,
                mechanism,
                data,
            };
            session.sign(&request).map(Reply::Signature)
        }
        Ask::FindSecret(text) => uri(&text)
            .and_then(|uri| session.find_secret(&uri))
            .map(Reply::FoundSecret),
        Ask::KnowSecret {
            number,
            uri: text,
            check,
        } => uri(&text).map(|uri| {
            let secret = SecretName { number, uri, check };
            known.secrets.insert(number, Arc::new(secret));
            Reply::Known
        }),
        Ask::Derive { number, context } => {
            let secret = known.secrets.get(&number);
            let secret = Arc::clone(secret.ok_or_else(|| not_introduced("secret"))?);
            session
                .derive(&DeriveRequest { secret, context })
                .map(Reply::Derived)
        }
        Ask::Generation(text) => uri(&text)
            .and_then(|uri| session.generation(&uri))
            .map(Reply::Generation),
        Ask::Restart => die(),
    }
}

/// Ends the process without taking the module down: other threads may be inside, and one of them may hang.
fn die() -> ! {
    let _ = kill_process(getpid(), Signal::KILL);
    process::abort()
}

/// Counts connections.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Place(Arc::clone(open))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
