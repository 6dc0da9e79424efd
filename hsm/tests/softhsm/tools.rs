//! Foreign readers of what we put into a token: openssl and pkcs11-tool.

use std::env;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::Hsm;

/// Whether a program of another package is there; says so if not.
pub(crate) fn has(program: &str, package: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).any(|folder| folder.join(program).exists());
    if !found {
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        // Straight to the terminal: the test harness would keep it to itself.
        let _ = writeln!(
            io::stderr(),
            "\nSKIPPED {name}: {program} is not installed (apt install {package})"
        );
    }
    found
}

/// What openssl says, given `input`; it must succeed.
pub(crate) fn openssl(arguments: &[&str], input: &[u8]) -> String {
    let mut child = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that needs no input may be gone already.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {arguments:?}: {told}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Makes a private key in a file.
pub(crate) fn private_key(path: &Path, arguments: &[&str]) {
    let (command, options) = arguments.split_at(1);
    let out = ["-out", path.to_str().unwrap()];
    openssl(&[command, &out, options].concat(), b"");
}

/// What pkcs11-tool says of the token; it must succeed.
pub(crate) fn pkcs11_tool(hsm: &Hsm, arguments: &[&str]) -> String {
    let output = Command::new("pkcs11-tool")
        .arg("--module")
        .arg(hsm.softhsm())
        .args(["--token-label", crate::harness::LABEL, "--login", "--pin"])
        .arg("471147")
        .args(arguments)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "pkcs11-tool {arguments:?}: {told}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
