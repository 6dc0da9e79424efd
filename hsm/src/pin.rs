//! PINs: read from a source outside the configuration, kept in memory that is wiped, never shown.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use zeroize::Zeroizing;

use crate::error::HsmError;

/// No token takes a longer PIN; whoever writes one has named the wrong file.
const MAX_PIN_BYTES: u64 = 1024;

/// Where a PIN comes from. The PIN itself is never written in a configuration or on a command line.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PinSource {
    /// `file:PATH`: the first line of a file.
    File(PathBuf),
    /// `env:NAME`: an environment variable.
    Env(String),
    /// `credential:NAME`: a file in `$CREDENTIALS_DIRECTORY` (systemd `LoadCredential=`).
    Credential(String),
    /// `fd:N`: an inherited file descriptor, read through `/proc/self/fd`.
    Fd(i32),
    /// `prompt`: asked on the terminal.
    Prompt,
}

/// A PIN: wiped from memory when dropped, and never printed.
#[derive(Clone)]
pub struct Pin(Zeroizing<String>);

impl PinSource {
    /// Reads the PIN. The end of the line is not part of it; an empty PIN is an error.
    ///
    /// # Errors
    /// [`HsmError::PinUnreadable`] with the source and the reason, never with what was read.
    pub fn read(&self) -> Result<Pin, HsmError> {
        self.read_asking("PIN")
    }

    /// Reads a PIN that is about to be set. On the terminal it is asked for twice, by its name.
    ///
    /// # Errors
    /// As [`PinSource::read`], and when the two are not the same.
    pub fn read_new(&self, name: &str) -> Result<Pin, HsmError> {
        let pin = self.read_asking(name)?;
        if *self == PinSource::Prompt && *self.read_asking(&format!("{name} again"))?.0 != *pin.0 {
            return Err(self.unreadable("the two are not the same".to_owned()));
        }
        Ok(pin)
    }

    /// Reads a password of something else than a token in the same way.
    ///
    /// # Errors
    /// Why it cannot be read, never with what was read.
    pub fn read_password(&self) -> io::Result<Zeroizing<String>> {
        self.read_line("password")
    }

    fn read_asking(&self, question: &str) -> Result<Pin, HsmError> {
        let pin = self.read_line(question);
        pin.map(Pin)
            .map_err(|error| self.unreadable(error.to_string()))
    }

    fn read_line(&self, question: &str) -> io::Result<Zeroizing<String>> {
        let line = match self {
            PinSource::File(path) => read_file(path),
            PinSource::Env(name) => read_env(name),
            PinSource::Credential(name) => credential(name).and_then(|path| read_file(&path)),
            PinSource::Fd(fd) => read_file(Path::new(&format!("/proc/self/fd/{fd}"))),
            PinSource::Prompt => prompt(question),
        }?;
        match line.is_empty() {
            true => Err(io::Error::other("it is empty")),
            false => Ok(line),
        }
    }

    fn unreadable(&self, reason: String) -> HsmError {
        HsmError::PinUnreadable {
            source: self.to_string(),
            reason,
        }
    }
}

impl fmt::Display for PinSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PinSource::File(path) => write!(f, "file:{}", path.display()),
            PinSource::Env(name) => write!(f, "env:{name}"),
            PinSource::Credential(name) => write!(f, "credential:{name}"),
            PinSource::Fd(fd) => write!(f, "fd:{fd}"),
            PinSource::Prompt => f.write_str("prompt"),
        }
    }
}

impl FromStr for PinSource {
    type Err = String;

    /// Reads the written form. The error does not repeat the text, which may be a PIN in the wrong place.
    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, value) = text.split_once(':').unwrap_or((text, ""));
        match kind {
            "prompt" if !text.contains(':') => return Ok(PinSource::Prompt),
            "file" if !value.is_empty() => return Ok(PinSource::File(value.into())),
            "env" if !value.is_empty() => return Ok(PinSource::Env(value.to_owned())),
            "credential" if !value.is_empty() => {
                return Ok(PinSource::Credential(value.to_owned()));
            }
            "fd" => {
                if let Some(fd) = value.parse().ok().filter(|fd| *fd >= 0) {
                    return Ok(PinSource::Fd(fd));
                }
            }
            _ => {}
        }
        let forms = "`file:PATH`, `env:NAME`, `credential:NAME`, `fd:N` or `prompt`";
        Err(format!(
            "a PIN source is {forms}; a PIN itself must not be written here"
        ))
    }
}

impl Pin {
    /// Hands the PIN to `C_Login`, `C_InitPIN` or `C_InitToken`. The copy is wiped too.
    pub(crate) fn to_auth(&self) -> cryptoki::types::AuthPin {
        cryptoki::types::AuthPin::from(self.0.as_str().to_owned())
    }

    /// The bytes of the PIN, to be hashed for the latch.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pin(..)")
    }
}

fn read_file(path: &Path) -> io::Result<Zeroizing<String>> {
    first_line(File::open(path)?)
}

fn first_line(source: impl Read) -> io::Result<Zeroizing<String>> {
    // The buffer of `BufReader` is not wiped, so the bytes are read into one that is.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_PIN_BYTES as usize + 1));
    source.take(MAX_PIN_BYTES + 1).read_to_end(&mut bytes)?;
    let line = bytes
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.len() as u64 > MAX_PIN_BYTES {
        return Err(io::Error::other(format!(
            "the first line is longer than {MAX_PIN_BYTES} bytes"
        )));
    }
    match std::str::from_utf8(line) {
        Ok(pin) => Ok(Zeroizing::new(pin.to_owned())),
        Err(_) => Err(io::Error::other("it is not UTF-8")),
    }
}

fn read_env(name: &str) -> io::Result<Zeroizing<String>> {
    match std::env::var(name) {
        Ok(pin) => Ok(Zeroizing::new(pin)),
        Err(std::env::VarError::NotPresent) => Err(io::Error::other("it is not set")),
        // The error of the standard library would print the value.
        Err(std::env::VarError::NotUnicode(_)) => Err(io::Error::other("it is not UTF-8")),
    }
}

/// systemd credentials are plain names; a path would leave the directory.
fn credential(name: &str) -> io::Result<PathBuf> {
    if name.contains('/') || name == ".." {
        return Err(io::Error::other("a credential is a name, not a path"));
    }
    match std::env::var_os("CREDENTIALS_DIRECTORY") {
        Some(directory) => Ok(Path::new(&directory).join(name)),
        None => Err(io::Error::other(
            "$CREDENTIALS_DIRECTORY is not set: is this a systemd service?",
        )),
    }
}

/// Asks on the terminal, not on standard input, which may be a pipe.
fn prompt(question: &str) -> io::Result<Zeroizing<String>> {
    let mut terminal = File::options().read(true).write(true).open("/dev/tty")?;
    let _quiet = quiet::Quiet::new(&terminal)?;
    terminal.write_all(format!("{question}: ").as_bytes())?;
    let mut line = Zeroizing::new(String::with_capacity(MAX_PIN_BYTES as usize));
    BufReader::with_capacity(1, terminal.try_clone()?)
        .take(MAX_PIN_BYTES)
        .read_line(&mut line)?;
    Ok(Zeroizing::new(
        line.trim_end_matches(['\r', '\n']).to_owned(),
    ))
}

mod quiet {
    //! Turns the echo of a terminal off, and on again when dropped.

    use std::fs::File;
    use std::io;

    use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

    pub(super) struct Quiet {
        terminal: File,
        before: Termios,
    }

    impl Quiet {
        pub(super) fn new(terminal: &File) -> io::Result<Self> {
            let terminal = terminal.try_clone()?;
            let before = tcgetattr(&terminal)?;
            let mut silent = before.clone();
            silent.local_modes.remove(LocalModes::ECHO);
            silent.local_modes.insert(LocalModes::ECHONL);
            tcsetattr(&terminal, OptionalActions::Flush, &silent)?;
            Ok(Quiet { terminal, before })
        }
    }

    impl Drop for Quiet {
        fn drop(&mut self) {
            // A terminal that has gone away has nobody left to type on it.
            let _ = tcsetattr(&self.terminal, OptionalActions::Flush, &self.before);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::PinSource;

    fn file(bytes: &[u8]) -> (tempfile::NamedTempFile, PinSource) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        let source = PinSource::File(file.path().to_owned());
        (file, source)
    }

    #[test]
    fn the_first_line_is_the_pin() {
        for written in ["4711", "4711\n", "4711\r\nnot this\n"] {
            let (_file, source) = file(written.as_bytes());
            let pin = source.read().unwrap();
            assert_eq!(pin.as_bytes(), b"4711");
            assert!(!format!("{pin:?}").contains("4711"));
        }
    }

    #[test]
    fn what_is_no_pin_is_refused_without_repeating_it() {
        for written in [&b""[..], b"\n4711", b"\xff4711", &[b'7'; 2000]] {
            let (_file, source) = file(written);
            let error = source.read().expect_err("refused");
            assert!(!format!("{error} {error:?}").contains("77"), "{error}");
        }
        assert!(
            PinSource::Env("PORTCULLIS_NO_SUCH_PIN".into())
                .read()
                .is_err()
        );
        assert!(PinSource::Credential("../pin".into()).read().is_err());
    }

    #[test]
    fn sources_are_written_as_they_are_read() {
        for text in [
            "file:/run/pin",
            "env:PIN",
            "credential:hsm",
            "fd:3",
            "prompt",
        ] {
            assert_eq!(text.parse::<PinSource>().unwrap().to_string(), text);
        }
        for text in ["4711", "file:", "fd:-1", "fd:4711x", "prompt:", "env"] {
            let error = text.parse::<PinSource>().expect_err(text);
            assert!(!error.contains("4711"));
        }
    }
}
