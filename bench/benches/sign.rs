//! Signatures: a software key inline, and a token's key through the queue and a session thread.
//!
//! The token is a SoftHSM of the bench's own, in a folder that is removed; also behind the fault module, whose settings
//! ask for no fault, so that what passing through it costs is known. Each with one caller, where it is the time of a
//! signature, and with eight that call at once, where it is the time that each signature adds.
//!
//! The SoftHSM library reads its environment when it is loaded: the process starts itself again with it set.

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use criterion::Criterion;
use portcullis_bench::pki::{write_file, write_secret};
use portcullis_hsm::generate::{SlotChoice, init_token, keygen};
use portcullis_hsm::uri::Pkcs11Uri;
use portcullis_hsm::{
    Extractable, Key, KeyKind, PinSource, Sessions, Token, TokenSelect, TokenSettings,
};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::SignatureScheme::ECDSA_NISTP256_SHA256;
use rustls::sign::Signer;

/// Names the folder of the token in the process that signs.
const FOLDER: &str = "PORTCULLIS_BENCH_FOLDER";
const LABEL: &str = "bench";
const SOFTHSM: [&str; 3] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
];
const CALLERS: u32 = 8;
/// Session threads: SoftHSM gains from no more on two cores.
const SESSIONS: usize = 2;
const MESSAGE: &[u8] = b"the transcript of a handshake";

fn signer(key: &Key) -> Box<dyn Signer> {
    let chosen = key.signing_key().choose_scheme(&[ECDSA_NISTP256_SHA256]);
    chosen.expect("a P-256 key")
}

/// One caller, then eight.
fn bench_key(criterion: &mut Criterion, name: &str, key: &Key) {
    let one = signer(key);
    one.sign(MESSAGE).expect("a signature");
    criterion.bench_function(&format!("sign/{name}/1 caller"), |bencher| {
        bencher.iter(|| black_box(one.sign(MESSAGE)));
    });
    criterion.bench_function(&format!("sign/{name}/{CALLERS} callers"), |bencher| {
        bencher.iter_custom(|signatures| at_once(key, signatures));
    });
}

/// The time of so many signatures, shared among callers that wait for theirs.
fn at_once(key: &Key, signatures: u64) -> Duration {
    let each = signatures.div_ceil(CALLERS.into());
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                let signer = signer(key);
                for _ in 0..each {
                    black_box(signer.sign(MESSAGE)).expect("a signature");
                }
            });
        }
    });
    // Rounded up above; criterion asks for the time of exactly so many.
    let made = each * u64::from(CALLERS);
    start.elapsed().mul_f64(signatures as f64 / made as f64)
}

fn software(criterion: &mut Criterion, folder: &Path) -> anyhow::Result<()> {
    let file = folder.join("key.pem");
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    write_secret(&file, &key.serialize_pem())?;
    bench_key(criterion, "software", &Key::software(&file)?);
    Ok(())
}

fn settings(folder: &Path, module: &Path) -> TokenSettings {
    let mut settings = TokenSettings::new("bench", module, TokenSelect::Label(LABEL.to_owned()));
    settings.pin = Some(PinSource::File(folder.join("pin")));
    settings.state_dir = Some(folder.join("state"));
    if let Some(sessions) = NonZeroUsize::new(SESSIONS) {
        settings.sessions = Sessions::Count(sessions);
    }
    settings
}

fn tokens(criterion: &mut Criterion, folder: &Path, softhsm: &Path) -> anyhow::Result<()> {
    let pin = |name: &str| PinSource::File(folder.join(name)).read();
    init_token(
        softhsm,
        SlotChoice::Free,
        LABEL,
        &pin("so-pin")?,
        &pin("pin")?,
    )?;
    // Built beside this bench as its dependency.
    let faulty = std::env::current_exe()?.with_file_name("libfault_module.so");
    for (name, module) in [("SoftHSM", softhsm), ("fault module", &faulty)] {
        let token = Token::open(settings(folder, module)).with_context(|| name.to_owned())?;
        let uri: Pkcs11Uri = "pkcs11:object=key;type=private".parse()?;
        if token.list()?.is_empty() {
            keygen(&token, KeyKind::EcdsaP256, "key", None)?;
        }
        bench_key(criterion, name, &token.key(&uri, Extractable::Refuse)?);
        drop(token);
        portcullis_hsm::join_closed_tokens();
    }
    Ok(())
}

/// The benches, in a process whose environment is right.
fn measure(folder: &Path, softhsm: Option<&Path>) -> anyhow::Result<()> {
    let mut criterion = Criterion::default().configure_from_args();
    software(&mut criterion, folder)?;
    if let Some(softhsm) = softhsm {
        tokens(&mut criterion, folder, softhsm)?;
    }
    criterion.final_summary();
    Ok(())
}

/// This process again, with a folder and an environment for SoftHSM.
fn again(softhsm: Option<&Path>) -> anyhow::Result<ExitCode> {
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir(at("tokens"))?;
    let conf = format!(
        "directories.tokendir = {}\nlog.level = ERROR\n",
        at("tokens").display()
    );
    write_file(&at("softhsm2.conf"), &conf)?;
    write_secret(&at("pin"), "471147\n")?;
    write_secret(&at("so-pin"), "08154711\n")?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(std::env::args_os().skip(1));
    command.env(FOLDER, folder.path());
    command.env("SOFTHSM2_CONF", at("softhsm2.conf"));
    if let Some(softhsm) = softhsm {
        command.env("FAULT_REAL_MODULE", softhsm);
    }
    let status = command.status()?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

#[expect(clippy::print_stderr, reason = "what is missing is said")]
fn main() -> anyhow::Result<ExitCode> {
    let softhsm = SOFTHSM.iter().map(PathBuf::from).find(|path| path.exists());
    match std::env::var_os(FOLDER) {
        Some(folder) => {
            measure(Path::new(&folder), softhsm.as_deref())?;
            Ok(ExitCode::SUCCESS)
        }
        None => {
            if softhsm.is_none() {
                eprintln!(
                    "SKIPPED sign with a token: SoftHSM is not installed (apt install softhsm2)"
                );
            }
            again(softhsm.as_deref())
        }
    }
}
