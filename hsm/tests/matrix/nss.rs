//! NSS softokn, the token of Firefox.
//!
//! It wants its database named at `C_Initialize`, in the reserved argument, which this crate leaves null
//! (NSS 3.87 of Debian 12 has no variable of the environment for it yet). The fault module, without
//! faults, stands in front and names it.

use std::env;
use std::path::PathBuf;

use portcullis_hsm::Provenance;

use crate::kinds::{self, Known, P256, P384, P521, RSA_2048, RSA_3072};
use crate::stage::{Skip, Stage, library, on_stage};

const SOFTOKN: [&str; 2] = ["libsoftokn3.so", "nss/libsoftokn3.so"];
const PACKAGES: &str = "libnss3 libnss3-tools";

/// The token with the keys, as softokn calls it; another one is for hashing only.
const TOKEN: &str = "NSS Certificate DB";

fn set(stage: &mut Stage) -> Result<(), Skip> {
    let softokn = library(&SOFTOKN, PACKAGES)?;
    let database = format!("sql:{}", stage.file("").display());
    let make = ["-N", "-d", &database, "-f", "pin"];
    stage.run("certutil", &make).map_err(|skip| Skip {
        packages: PACKAGES,
        ..skip
    })?;
    let named = format!("configdir='{database}' certPrefix='' keyPrefix='' flags=noModDB");
    stage.set("FAULT_REAL_MODULE", softokn);
    stage.set("FAULT_INITIALIZE", named);
    Ok(())
}

/// The fault module, built beside this test as its dependency.
fn module() -> PathBuf {
    let module = env::current_exe()
        .unwrap()
        .with_file_name("libfault_module.so");
    assert!(module.exists(), "{} was not built", module.display());
    module
}

#[test]
fn nss_serves_every_kind_of_key_but_ed25519() {
    on_stage(set, |place| {
        let known = Known {
            kinds: &[P256, P384, P521, RSA_2048, RSA_3072],
            // A key that it has stored is not CKA_LOCAL any more.
            provenance: Provenance::Imported,
        };
        kinds::all_serve(&place.open(&module(), TOKEN).unwrap(), &known);
    });
}
