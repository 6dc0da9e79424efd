//! The unix socket for changes, and for what is not everybody's to read: one line in, one answer out.
//!
//! Mode 0600, and the kernel's word on who is calling: only the gateway's own user and root.

use std::fmt;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};

use super::probes::State;
use super::{Command, requests, tickets};

/// Bytes of a request line, which may hold a chain of certificates, and of an answer, which may list clients.
const MAX_LINE: u64 = 256 * 1024;
const MAX_ANSWER: u64 = 64 * 1024 * 1024;
/// Rest after an accept that failed for want of descriptors or memory.
const ACCEPT_REST: Duration = Duration::from_millis(50);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Opening tokens and proving certificates takes as long as the HSM does.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

/// Why a command could not be carried out.
#[derive(Debug)]
pub enum ControlError {
    /// The socket.
    Socket(PathBuf, io::Error),
    /// The gateway refused; the text is for the operator.
    Refused(String),
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path, error) => {
                write!(
                    f,
                    "control socket {}: {error}; is the gateway running, and as which user?",
                    path.display()
                )
            }
            Self::Refused(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for ControlError {}

/// Opens the socket and serves it until the runtime ends.
pub fn listen(path: &Path, commands: mpsc::Sender<Command>, state: Arc<State>) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        // A socket left by a gateway that is gone; one that answers belongs to somebody.
        Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        Ok(metadata) if std::os::unix::fs::FileTypeExt::is_socket(&metadata.file_type()) => {
            std::fs::remove_file(path)?
        }
        Ok(_) => return Err(io::Error::new(io::ErrorKind::AlreadyExists, "not a socket")),
        Err(_) => {}
    }
    // The mode is right before the first client can connect: umask would be process-wide, so the socket is
    // made under a private name and moved into place.
    let private = path.with_extension(format!("{}.new", std::process::id()));
    let listener = UnixListener::bind(&private)?;
    std::fs::set_permissions(&private, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&private, path)?;
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                // One at a time: commands change the whole gateway.
                Ok((stream, _)) => serve(stream, &commands, &state).await,
                Err(error) => {
                    tracing::warn!(%error, "control socket: accept failed");
                    tokio::time::sleep(ACCEPT_REST).await;
                }
            }
        }
    });
    Ok(())
}

async fn serve(mut stream: UnixStream, commands: &mpsc::Sender<Command>, state: &State) {
    let own = rustix::process::getuid().as_raw();
    let allowed = stream
        .peer_cred()
        .is_ok_and(|peer| peer.uid() == own || peer.uid() == 0);
    let answer = if allowed {
        match tokio::time::timeout(REQUEST_TIMEOUT, read_line(&mut stream)).await {
            Ok(Ok(line)) => run(&line, commands, state).await,
            Ok(Err(error)) => Err(format!("cannot read the command: {error}")),
            Err(_) => Err("no command in time".to_owned()),
        }
    } else {
        Err("only the gateway's own user and root may do this".to_owned())
    };
    let text = match answer {
        Ok(text) => format!("ok {text}\n"),
        Err(text) => format!("error {text}\n"),
    };
    // The caller may be gone; what was done stays done.
    let _ = tokio::time::timeout(REQUEST_TIMEOUT, stream.write_all(text.as_bytes())).await;
}

async fn read_line(stream: &mut UnixStream) -> io::Result<String> {
    let mut line = String::new();
    BufReader::new(stream.take(MAX_LINE))
        .read_line(&mut line)
        .await?;
    Ok(line.trim().to_owned())
}

async fn run(
    line: &str,
    commands: &mpsc::Sender<Command>,
    state: &State,
) -> Result<String, String> {
    let (word, argument) = line.split_once(' ').unwrap_or((line, ""));
    if word == "tickets" {
        return tickets::answer(argument, state).await;
    }
    if word != "reload" {
        return requests::answer(word, argument, state);
    }
    let (reply, answer) = oneshot::channel();
    let command = Command::Reload(reply);
    let gone = || "the gateway is stopping".to_owned();
    commands.send(command).await.map_err(|_| gone())?;
    answer.await.map_err(|_| gone())?
}

/// Sends a command to a running gateway and waits for its answer.
pub async fn call(path: &Path, command: &str) -> Result<String, ControlError> {
    let socket = |error| ControlError::Socket(path.to_owned(), error);
    let exchange = async {
        let mut stream = UnixStream::connect(path).await?;
        stream.write_all(format!("{command}\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.take(MAX_ANSWER).read_to_string(&mut answer).await?;
        Ok(answer)
    };
    let answer = match tokio::time::timeout(ANSWER_TIMEOUT, exchange).await {
        Ok(answer) => answer.map_err(socket)?,
        Err(_) => return Err(socket(io::ErrorKind::TimedOut.into())),
    };
    match answer.trim_end().split_once(' ') {
        Some(("ok", text)) => Ok(text.to_owned()),
        Some(("error", text)) => Err(ControlError::Refused(text.to_owned())),
        _ => Err(ControlError::Refused(format!(
            "unexpected answer {answer:?}"
        ))),
    }
}
