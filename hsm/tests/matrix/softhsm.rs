//! SoftHSM 2.6, in this process.

use std::fs;
use std::path::PathBuf;

use portcullis_hsm::Provenance;
use portcullis_hsm::generate::{SlotChoice, init_token};

use crate::kinds::{self, ED25519, Known, P256, P384, P521, RSA_2048, RSA_3072};
use crate::stage::{LABEL, Skip, Stage, library, on_stage};

pub(crate) fn module() -> Result<PathBuf, Skip> {
    let names = ["softhsm/libsofthsm2.so", "pkcs11/libsofthsm2.so"];
    library(&names, "softhsm2")
}

/// An empty store.
pub(crate) fn set(stage: &mut Stage) -> Result<(), Skip> {
    module()?;
    let (tokens, conf) = (stage.file("tokens"), stage.file("softhsm2.conf"));
    fs::create_dir(&tokens).unwrap();
    let text = format!(
        "directories.tokendir = {}\nlog.level = ERROR\n",
        tokens.display()
    );
    fs::write(&conf, text).unwrap();
    stage.set("SOFTHSM2_CONF", conf);
    Ok(())
}

#[test]
fn softhsm_serves_every_kind_of_key() {
    on_stage(set, |place| {
        let module = module().ok().unwrap();
        let (so_pin, pin) = (place.pin("so-pin").read(), place.pin("pin").read());
        init_token(
            &module,
            SlotChoice::Free,
            LABEL,
            &so_pin.unwrap(),
            &pin.unwrap(),
        )
        .unwrap();
        let known = Known {
            kinds: &[P256, P384, P521, RSA_2048, RSA_3072, ED25519],
            provenance: Provenance::GeneratedInHsm,
        };
        kinds::all_serve(&place.open(&module, LABEL).unwrap(), &known);
    });
}
