//! tpm2-pkcs11 over a TPM in software: swtpm, a resource manager on a message bus of its own.
//!
//! The resource manager is needed: a TPM has room for three keys at once, and the module leaves that to it.

use std::net::TcpListener;

use portcullis_hsm::Provenance;

use crate::kinds::{self, Known, P256, P384};
use crate::stage::{LABEL, PIN, SO_PIN, Skip, Stage, library, on_stage};

const MODULE: [&str; 2] = ["pkcs11/libtpm2_pkcs11.so", "libtpm2_pkcs11.so"];
const PACKAGES: &str = "swtpm tpm2-abrmd libtss2-tcti-tabrmd0 libtpm2-pkcs11-1 libtpm2-pkcs11-tools \
    dbus-daemon libglib2.0-bin";

/// How clients reach the resource manager.
const TCTI: &str = "tabrmd:bus_type=session";

fn set(stage: &mut Stage) -> Result<(), Skip> {
    let packages = |skip| Skip {
        packages: PACKAGES,
        ..skip
    };
    library(&MODULE, PACKAGES)?;
    library(&["libtss2-tcti-tabrmd.so.0"], PACKAGES)?;
    // swtpm writes its state there, tpm2-pkcs11 its keys.
    for (folder, variable) in [("state", "TPM_PATH"), ("store", "TPM2_PKCS11_STORE")] {
        let path = stage.file(folder);
        std::fs::create_dir(&path).unwrap();
        stage.set(variable, path);
    }
    let port = two_ports();
    let server = format!("type=tcp,bindaddr=127.0.0.1,port={port}");
    let ctrl = format!("type=tcp,bindaddr=127.0.0.1,port={}", port + 1);
    let flags = "not-need-init,startup-clear";
    let pid = stage.file("swtpm.pid");
    let pid_file = format!("file={}", pid.display());
    let run = ["socket", "--tpm2", "--server", &server, "--ctrl", &ctrl];
    let rest = ["--flags", flags, "--pid", &pid_file];
    let arguments = [&run[..], &rest].concat();
    stage.start("swtpm", &arguments).map_err(packages)?;
    // It is written when the sockets are open.
    stage.until("swtpm has its sockets", || pid.exists());

    let bus = stage.file("bus");
    let address = format!("unix:path={}", bus.display());
    let run = ["--session", "--nofork", "--address", &address];
    stage.start("dbus-daemon", &run).map_err(packages)?;
    stage.until("the bus is there", || bus.exists());
    stage.set("DBUS_SESSION_BUS_ADDRESS", address);

    let tpm = format!("--tcti=swtpm:host=127.0.0.1,port={port}");
    let run = ["--session", "--allow-root", &tpm];
    stage.start("tpm2-abrmd", &run).map_err(packages)?;
    stage.set("TPM2TOOLS_TCTI", TCTI);
    stage.set("TPM2_PKCS11_TCTI", TCTI);
    let manager = ["wait", "--session", "--timeout=10", "com.intel.tss2.Tabrmd"];
    stage.run("gdbus", &manager).map_err(packages)?;

    stage.run("tpm2_ptool", &["init"]).map_err(packages)?;
    let token = ["addtoken", "--pid", "1", "--label", LABEL];
    let pins = ["--sopin", SO_PIN, "--userpin", PIN];
    let arguments = [&token[..], &pins].concat();
    stage.run("tpm2_ptool", &arguments).map_err(packages)
}

/// A port whose successor is free too: the TPM is controlled on it.
fn two_ports() -> u16 {
    let free = |port| TcpListener::bind(("127.0.0.1", port));
    let found = (0..100).find_map(|_| {
        let first = free(0).ok()?;
        let port = first.local_addr().ok()?.port();
        free(port.checked_add(1)?).ok()?;
        Some(port)
    });
    found.unwrap()
}

/// No P-521, for tpm2-pkcs11 1.9 cannot read the point that it has written itself. No RSA, for it signs by
/// `TPM2_RSA_Decrypt`, and our keys may not decrypt; a key that was made with `tpm2_ptool` may.
#[test]
fn a_tpm_serves_p256_and_p384() {
    on_stage(set, |place| {
        let module = library(&MODULE, PACKAGES).ok().unwrap();
        let known = Known {
            kinds: &[P256, P384],
            provenance: Provenance::GeneratedInHsm,
        };
        kinds::all_serve(&place.open(&module, LABEL).unwrap(), &known);
    });
}
