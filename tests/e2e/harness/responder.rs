//! A real OCSP responder: `openssl ocsp` with an index of certificates.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use portcullis_bench::pki::{Ca, Standing, write_file, write_secret};
use tempfile::TempDir;

/// The process. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Responder {
    child: Child,
    folder: TempDir,
    port: u16,
    serials: Vec<(u64, Standing)>,
}

impl Responder {
    /// Answers for `ca` about these serial numbers, signed by the CA itself; others are unknown.
    pub(crate) fn of(ca: &Ca, serials: &[(u64, Standing)]) -> Self {
        Self::signing(ca, (ca.pem(), &ca.key_pem()), serials)
    }

    /// The same, signed with another certificate and key (PEM).
    pub(crate) fn signing(
        ca: &Ca,
        (certificate, key): (&str, &str),
        serials: &[(u64, Standing)],
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        write_file(&path("ca.pem"), ca.pem()).unwrap();
        write_file(&path("signer.pem"), certificate).unwrap();
        write_secret(&path("signer.key"), key).unwrap();
        fs::write(path("index"), index(serials)).unwrap();
        let arguments = "ocsp -port 0 -nmin 5 -index index -CA ca.pem -rsigner signer.pem \
                         -rkey signer.key";
        let mut child = Command::new("openssl")
            .args(arguments.split_whitespace())
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl, which must be installed");
        // "ACCEPT 0.0.0.0:PORT PID=..."
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut ports = lines.map_while(Result::ok).filter_map(|line| {
            let address = line.strip_prefix("ACCEPT ")?.split(' ').next()?.to_owned();
            address.rsplit(':').next()?.parse().ok()
        });
        let port = ports.next().expect("the port of `openssl ocsp`");
        Self {
            child,
            folder,
            port,
            serials: serials.to_vec(),
        }
    }

    /// Where it is asked.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// Says something else about a serial number from now on: openssl notices that the index is another file.
    pub(crate) fn set(&mut self, serial: u64, standing: Standing) {
        self.serials.retain(|(known, _)| *known != serial);
        self.serials.push((serial, standing));
        let fresh = self.folder.path().join("index.new");
        fs::write(&fresh, index(&self.serials)).unwrap();
        fs::rename(fresh, self.folder.path().join("index")).unwrap();
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        let _ = self.child.kill(); // It may have ended.
        let _ = self.child.wait();
    }
}

/// The database of `openssl ca`.
fn index(serials: &[(u64, Standing)]) -> String {
    let mut text = String::new();
    for (serial, standing) in serials {
        let hex = format!("{serial:X}");
        let even = hex.len() + hex.len() % 2;
        let state = match standing {
            Standing::Good => "V\t350101000000Z\t",
            Standing::Revoked => "R\t350101000000Z\t240101000000Z,keyCompromise",
            Standing::Unknown => continue,
        };
        writeln!(text, "{state}\t{hex:0>even$}\tunknown\t/CN={serial}").unwrap();
    }
    text
}
