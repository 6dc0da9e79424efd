//! SoftHSM in another process, over the socket of a p11-kit server: like a network HSM.

use portcullis_hsm::Provenance;

use crate::kinds::{self, Known, P256, P384, P521, RSA_2048, RSA_3072};
use crate::softhsm;
use crate::stage::{LABEL, PIN, SO_PIN, Skip, Stage, library, on_stage};

const CLIENT: [&str; 1] = ["pkcs11/p11-kit-client.so"];
const PACKAGES: &str = "softhsm2 p11-kit p11-kit-modules";

fn set(stage: &mut Stage) -> Result<(), Skip> {
    let packages = |skip| Skip {
        packages: PACKAGES,
        ..skip
    };
    library(&CLIENT, PACKAGES)?;
    softhsm::set(stage)?;
    // The server shows the tokens that are there when it starts.
    let init = ["--init-token", "--free", "--label", LABEL];
    let pins = ["--pin", PIN, "--so-pin", SO_PIN];
    let arguments = [&init[..], &pins].concat();
    stage.run("softhsm2-util", &arguments).map_err(packages)?;
    let socket = stage.file("socket");
    let (name, module) = (
        socket.display().to_string(),
        softhsm::module()?.display().to_string(),
    );
    let token = format!("pkcs11:token={LABEL}");
    let serve = [
        "server",
        "--foreground",
        "--name",
        &name,
        "--provider",
        &module,
        &token,
    ];
    stage.start("p11-kit", &serve).map_err(packages)?;
    stage.until("the server listens", || socket.exists());
    stage.set("P11_KIT_SERVER_ADDRESS", format!("unix:path={name}"));
    Ok(())
}

/// No Ed25519: the protocol of p11-kit does not carry `CKM_EDDSA`.
#[test]
fn a_p11_kit_server_serves_every_kind_of_key_but_ed25519() {
    on_stage(set, |place| {
        let module = library(&CLIENT, PACKAGES).ok().unwrap();
        let known = Known {
            kinds: &[P256, P384, P521, RSA_2048, RSA_3072],
            provenance: Provenance::GeneratedInHsm,
        };
        kinds::all_serve(&place.open(&module, LABEL).unwrap(), &known);
    });
}
