//! PINs that a token refused: remembered in the process and, where there is a state folder, over restarts.
//!
//! A gateway that is restarted again and again with a wrong PIN would lock the token within seconds. So a
//! refused PIN leaves a mark, a slow salted hash, and is not tried on that token again. Another PIN in the
//! source is another hash: correcting the source is all that is needed. The mark goes with the first login.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::num::NonZeroU32;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use aws_lc_rs::{digest, pbkdf2, rand};
use cryptoki::slot::TokenInfo;
use zeroize::Zeroizing;

use crate::error::HsmError;
use crate::pin::Pin;

/// PINs are short, so a mark that is stolen must be slow to search: OWASP's figure for PBKDF2-SHA-256. It is
/// paid where there is a mark, and after a refusal; never at a start without one.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(600_000).expect("not zero");

const LEN: usize = digest::SHA256_OUTPUT_LEN;

/// PINs that were refused in this process.
static REFUSED: Mutex<Vec<Mark>> = Mutex::new(Vec::new());

/// A PIN of one token, as a hash with a salt of this process: enough to know it again, useless elsewhere.
#[derive(PartialEq, Eq)]
struct Mark {
    module: PathBuf,
    serial: String,
    pin: [u8; LEN],
}

/// A PIN that is about to be tried: was it refused before?
pub(super) struct Refused {
    mark: Mark,
    pin: Pin,
    /// The file that remembers it for this token.
    file: Option<PathBuf>,
}

impl Refused {
    pub(super) fn new(
        module: &Path,
        info: &TokenInfo,
        pin: &Pin,
        state_dir: Option<&Path>,
    ) -> Result<Self, HsmError> {
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(salt()?);
        hash.update(pin.as_bytes());
        let mut digest = [0; LEN];
        digest.copy_from_slice(hash.finish().as_ref());
        let serial = info.serial_number().to_owned();
        // The name must not follow from what a token says of itself: a serial may hold a path.
        let token = [info.manufacturer_id(), info.model(), &serial].join("\0");
        let name = hex(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
        Ok(Refused {
            mark: Mark {
                module: module.to_owned(),
                serial,
                pin: digest,
            },
            pin: pin.clone(),
            file: state_dir.map(|folder| folder.join(format!("refused-pin-{}", &name[..32]))),
        })
    }

    pub(super) fn is_known(&self) -> bool {
        let known = REFUSED.lock().unwrap_or_else(PoisonError::into_inner);
        known.contains(&self.mark) || self.is_on_disk()
    }

    /// Marks the PIN in this process.
    pub(super) fn remember_here(self) {
        let mut known = REFUSED.lock().unwrap_or_else(PoisonError::into_inner);
        // Bounded: a source that is corrected a thousand times is still wrong.
        if known.len() < 1024 {
            known.push(self.mark);
        }
    }

    /// Marks the PIN, also over restarts. A folder that cannot be written is no reason to try the PIN again in this process.
    pub(super) fn remember(self) {
        // Whoever starts the process sees the refusal itself; a second complaint here would hide it. The
        // gateway checks at its start that the folder can be written.
        let _ = self.file.as_deref().map(|file| self.write(file));
        self.remember_here();
    }

    /// The token took a PIN: what it refused before is of no interest any more.
    pub(super) fn forget(self) {
        if let Some(file) = &self.file
            && file.exists()
        {
            let _ = fs::remove_file(file); // At worst the next start pays for another comparison.
        }
    }

    fn is_on_disk(&self) -> bool {
        let Some(text) = self
            .file
            .as_deref()
            .and_then(|f| fs::read_to_string(f).ok())
        else {
            return false;
        };
        let mut words = text.split_whitespace();
        let (Some("pbkdf2-sha256-600000"), Some(salt), Some(hash)) = (
            words.next(),
            words.next().and_then(unhex),
            words.next().and_then(unhex),
        ) else {
            return false;
        };
        // Compares in constant time.
        let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
        pbkdf2::verify(algorithm, ITERATIONS, &salt, self.pin.as_bytes(), &hash).is_ok()
    }

    fn write(&self, file: &Path) -> std::io::Result<()> {
        let mut salt = [0; 16];
        rand::fill(&mut salt).map_err(|_| std::io::Error::other("no random numbers"))?;
        let mut hash = Zeroizing::new([0; LEN]);
        let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
        pbkdf2::derive(
            algorithm,
            ITERATIONS,
            &salt,
            self.pin.as_bytes(),
            &mut *hash,
        );
        let text = format!("pbkdf2-sha256-600000 {} {}\n", hex(&salt), hex(&*hash));
        if let Some(folder) = file.parent() {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)?;
        }
        // Renamed into place: a half-written mark would be none.
        let fresh = file.with_extension(format!("{}", std::process::id()));
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        options.open(&fresh)?.write_all(text.as_bytes())?;
        fs::rename(fresh, file)
    }
}

fn salt() -> Result<&'static [u8; 32], HsmError> {
    static SALT: OnceLock<[u8; 32]> = OnceLock::new();
    if let Some(salt) = SALT.get() {
        return Ok(salt);
    }
    let mut salt = [0; 32];
    let random = rand::fill(&mut salt);
    random.map_err(|_| HsmError::Generate("the system has no random numbers".to_owned()))?;
    // Whoever was first decides; all hashes of the process share one salt.
    Ok(SALT.get_or_init(|| salt))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pair = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    (0..text.len()).step_by(2).map(pair).collect()
}
