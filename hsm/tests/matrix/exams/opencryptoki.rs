//! The token in software of openCryptoki, as on IBM Z.
//!
//! Its daemon and its store are there once on a machine, so this runs in namespaces of its own with empty
//! folders over them: a store that the machine has is not touched, nor is a daemon that runs.

use std::path::Path;
use std::process::Command;

use portcullis_hsm::Provenance;

use crate::kinds::{self, Known, RSA_2048, RSA_3072};
use crate::stage::{LABEL, PIN, SO_PIN, Skip, Stage, library, on_stage, skip};

const MODULE: [&str; 2] = [
    "pkcs11/libopencryptoki.so",
    "opencryptoki/libopencryptoki.so",
];
const PACKAGES: &str = "opencryptoki";

/// All ends with the first process in it.
const NAMESPACES: [&str; 5] = ["--mount", "--ipc", "--pid", "--fork", "--kill-child"];

/// Starts the daemon, makes the token, and runs what it is given. The PIN of the security officer is the
/// factory's until it is changed, which must be before anything else.
const SCRIPT: &str = r#"
set -e
for folder in /var/lib/opencryptoki /run /dev/shm; do mount -t tmpfs none "$folder"; done
mkdir -p /var/lib/opencryptoki/swtok/TOK_OBJ /run/lock/opencryptoki/swtok
chgrp -R pkcs11 /var/lib/opencryptoki /run/lock/opencryptoki
pkcsslotd -f &
tries=0
until pkcsconf -t >/dev/null 2>&1; do
  tries=$((tries + 1)); [ $tries -lt 100 ]; sleep 0.1
done
slot=$(pkcsconf -t | sed -n 's/^Token #\([0-9]*\) Info:.*/\1/p' | head -1)
echo "$LABEL" | pkcsconf -c "$slot" -I -S 87654321
pkcsconf -c "$slot" -P -S 87654321 -n "$SO_PIN"
pkcsconf -c "$slot" -u -S "$SO_PIN" -n "$PIN"
"$@"
"#;

fn set(stage: &mut Stage) -> Result<(), Skip> {
    library(&MODULE, PACKAGES)?;
    if !Path::new("/usr/sbin/pkcsslotd").exists() {
        return Err(skip("pkcsslotd is not installed".to_owned(), PACKAGES));
    }
    let tried = Command::new("unshare")
        .args(NAMESPACES)
        .arg("true")
        .output();
    if !tried.is_ok_and(|tried| tried.status.success()) {
        let reason = "namespaces cannot be made; it wants root".to_owned();
        return Err(skip(reason, "util-linux"));
    }
    for (name, value) in [("LABEL", LABEL), ("SO_PIN", SO_PIN), ("PIN", PIN)] {
        stage.set(name, value);
    }
    let program = [&["unshare"], &NAMESPACES[..], &["sh", "-c", SCRIPT, "sh"]].concat();
    stage.within(&program);
    Ok(())
}

/// Its clock says `18:50:53` where the standard wants sixteen digits (`CK_TOKEN_INFO.utcTime`), which nobody
/// reads: a token is not refused for it.
#[test]
fn opencryptoki_serves_rsa_whatever_its_clock_says() {
    on_stage(set, |place| {
        let module = library(&MODULE, PACKAGES).ok().unwrap();
        let known = Known {
            kinds: &[RSA_2048, RSA_3072],
            provenance: Provenance::GeneratedInHsm,
        };
        kinds::all_serve(&place.open(&module, LABEL).unwrap(), &known);
    });
}
