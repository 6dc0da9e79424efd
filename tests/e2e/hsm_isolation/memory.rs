//! A search through the memory of another process.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;

use tokio::process::Command;

use crate::harness::tools::run;

const CHUNK: usize = 1 << 20;

/// Whether a text is anywhere in the writable memory of a process. Only root may look.
pub(super) async fn holds(process: u32, text: &str) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("memory");
    let copied = copy_of(process, &mut File::create(&copy).unwrap());
    assert!(copied > CHUNK, "{copied} bytes are no gateway");
    // What searches fast also in a test that was built without optimisation.
    let mut command = Command::new("grep");
    command.args(["--quiet", "--text", "--fixed-strings", text]);
    command.arg(&copy).env("LC_ALL", "C");
    let said = run(command, "").await;
    assert!(matches!(said.status.code(), Some(0 | 1)), "{said:?}");
    said.status.success()
}

fn copy_of(process: u32, copy: &mut File) -> usize {
    let memory = File::open(format!("/proc/{process}/mem")).unwrap();
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
    let (mut chunk, mut copied) = (vec![0; CHUNK], 0);
    for (mut at, end) in maps.lines().filter_map(writable) {
        while at < end {
            let len = usize::try_from(end - at).unwrap().min(CHUNK);
            // What was reserved and never touched cannot always be read.
            let read = memory.read_at(&mut chunk[..len], at).unwrap_or(0);
            if read == 0 {
                break;
            }
            copy.write_all(&chunk[..read]).unwrap();
            copied += read;
            at += read as u64;
        }
    }
    copied
}

/// `BEGIN-END rw-p ...`
fn writable(line: &str) -> Option<(u64, u64)> {
    let (range, rest) = line.split_once(' ')?;
    let (begin, end) = range.split_once('-')?;
    let address = |text| u64::from_str_radix(text, 16).ok();
    rest.starts_with("rw")
        .then_some((address(begin)?, address(end)?))
}
