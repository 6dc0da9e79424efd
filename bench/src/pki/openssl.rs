//! What no modern library makes any more, by way of the `openssl` program: weak keys, weak hashes.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};
use rcgen::SubjectPublicKeyInfo;

use super::{Ca, Client, Leaf, write_file, write_secret};

/// Extensions of a certificate `openssl` signs, beside the names, which it copies from the request.
const EXTENSIONS: &str = "basicConstraints=critical,CA:FALSE\n\
    authorityKeyIdentifier=keyid\n\
    subjectKeyIdentifier=hash\n";

/// A client whose key is RSA with 1,024 bits. `openssl` makes the key, the CA signs as ever.
pub(super) fn with_rsa_1024(client: &Client, ca: &Ca) -> anyhow::Result<Leaf> {
    let folder = tempfile::tempdir()?;
    run(
        folder.path(),
        "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 -out key.pem",
    )?;
    run(folder.path(), "pkey -in key.pem -pubout -out public.pem")?;
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name));
    let public_key = SubjectPublicKeyInfo::from_pem(&read("public.pem")?)?;
    let leaf = ca.sign(&client.params(), &public_key)?;
    let chain = [vec![leaf.pem()], ca.intermediates()].concat();
    Ok(Leaf {
        chain,
        key: read("key.pem")?,
    })
}

/// A client whose certificate the CA signed with SHA-1.
pub(super) fn signed_with_sha1(client: &Client, ca: &Ca) -> anyhow::Result<Leaf> {
    let folder = tempfile::tempdir()?;
    let key = client.generate_key()?;
    write_file(&folder.path().join("ca.pem"), ca.pem())?;
    write_secret(&folder.path().join("ca.key"), &ca.key_pem())?;
    let mut params = client.params();
    // What a request cannot ask for; the file of extensions says it.
    params.use_authority_key_identifier_extension = false;
    params.is_ca = rcgen::IsCa::NoCa;
    let request = params.serialize_request(&key)?.pem()?;
    write_file(&folder.path().join("request.pem"), &request)?;
    write_file(&folder.path().join("extensions"), EXTENSIONS)?;
    run(
        folder.path(),
        "x509 -req -sha1 -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 7 \
         -copy_extensions copyall -extfile extensions -out leaf.pem",
    )?;
    let leaf = std::fs::read_to_string(folder.path().join("leaf.pem"))?;
    let chain = [vec![leaf], ca.intermediates()].concat();
    Ok(Leaf {
        chain,
        key: key.serialize_pem(),
    })
}

fn run(folder: &Path, arguments: &str) -> anyhow::Result<()> {
    let output = Command::new("openssl")
        .args(arguments.split_whitespace())
        .current_dir(folder)
        .output()
        .context("run openssl, which must be installed")?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "openssl {arguments}: {complaint}");
    Ok(())
}
