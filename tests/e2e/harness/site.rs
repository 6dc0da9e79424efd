//! A site of the gateway under test.

use std::fmt::Write as _;
use std::path::Path;

use portcullis_bench::pki::{Ca, write_file};

use super::KeyKind;
use super::keys::Keys;

/// A site to be: hosts, certificates, and whatever else the test is about.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    hosts: Vec<String>,
    kinds: Vec<KeyKind>,
    /// TOML of a certificate that the test made itself.
    certificate: Option<String>,
    client_cert: Option<(String, String)>,
    upstream: Option<String>,
    lines: String,
    tables: String,
}

impl Site {
    /// A site for this host (its name, too), with a P-256 key, in front of the upstream `echo`.
    pub(crate) fn new(host: &str) -> Self {
        Self {
            hosts: vec![host.to_owned()],
            kinds: vec![KeyKind::P256],
            certificate: None,
            client_cert: None,
            upstream: Some("echo".to_owned()),
            lines: String::new(),
            tables: String::new(),
        }
    }

    /// One more host.
    pub(crate) fn host(mut self, host: &str) -> Self {
        self.hosts.push(host.to_owned());
        self
    }

    /// The kinds of its keys, in order of preference.
    pub(crate) fn keys(mut self, kinds: &[KeyKind]) -> Self {
        self.kinds = kinds.to_vec();
        self
    }

    /// A certificate, and its key, that the test made itself: `{ chain = '...', key = '...' }`.
    pub(crate) fn certificate(mut self, toml: &str) -> Self {
        self.kinds.clear();
        self.certificate = Some(toml.to_owned());
        self
    }

    /// Its own demand on clients, as in the configuration; `ignore` takes no CA.
    pub(crate) fn client_cert(mut self, mode: &str, ca: Option<&Ca>) -> Self {
        let pem = ca.map(|ca| ca.pem().to_owned()).unwrap_or_default();
        self.client_cert = Some((mode.to_owned(), pem));
        self
    }

    /// Requests under `path` go to the upstream of this name; replaces the upstream for everything.
    pub(crate) fn route(mut self, path: &str, upstream: &str) -> Self {
        self.upstream = None;
        let route = format!("[[site.route]]\npath = '{path}'\nupstream = '{upstream}'\n");
        self.tables.push_str(&route);
        self
    }

    /// Requests go nowhere.
    pub(crate) fn nowhere(mut self) -> Self {
        self.upstream = None;
        self
    }

    /// One more table below it.
    pub(super) fn push_table(&mut self, toml: &str) {
        self.tables.push_str(toml);
    }

    /// Requests under `path` go to `echo` and demand something of their own, by keys of `client_cert`.
    pub(crate) fn demanding(mut self, path: &str, client_cert: &str) -> Self {
        let route = format!(
            "[[site.route]]\npath = '{path}'\nupstream = 'echo'\nclient_cert = {client_cert}\n"
        );
        self.tables.push_str(&route);
        self
    }

    /// Safe requests under `path` go to `echo` also as early data.
    pub(crate) fn early(mut self, path: &str) -> Self {
        let route =
            format!("[[site.route]]\npath = '{path}'\nupstream = 'echo'\nearly_data = true\n");
        self.tables.push_str(&route);
        self
    }

    /// More keys of `[[site]]`, such as `tls = { versions = ["1.3"] }`.
    pub(crate) fn line(mut self, toml: &str) -> Self {
        self.lines.push_str(toml);
        self.lines.push('\n');
        self
    }

    pub(super) fn kinds(&self) -> &[KeyKind] {
        &self.kinds
    }

    /// Certifies its keys and writes it down. File names begin with `stem`.
    pub(super) fn write(&self, keys: Keys, folder: &Path, stem: &str) -> String {
        let names: Vec<&str> = self
            .hosts
            .iter()
            .map(|host| if host == "*" { "localhost" } else { host })
            .collect();
        let certificates: Vec<String> = self
            .kinds
            .iter()
            .map(|kind| keys.certify(folder, stem, *kind, &names))
            .chain(self.certificate.clone())
            .collect();
        let certificates = certificates.join(", ");
        let mut toml = format!(
            "[[site]]\nhosts = {:?}\ncertificate = [{certificates}]\n",
            self.hosts
        );
        if let Some((mode, ca)) = &self.client_cert {
            toml.push_str(&client_cert(folder, stem, mode, ca));
        }
        if let Some(upstream) = &self.upstream {
            writeln!(toml, "upstream = '{upstream}'").unwrap();
        }
        toml + &self.lines + &self.tables
    }
}

/// The TOML of `client_cert`, its trust bundle written beside it. Without a CA there is no `trust`.
pub(super) fn client_cert(folder: &Path, stem: &str, mode: &str, ca: &str) -> String {
    if ca.is_empty() {
        return format!("client_cert = {{ mode = '{mode}' }}\n");
    }
    let trust = format!("{stem}-trust.pem");
    write_file(&folder.join(&trust), ca).unwrap();
    format!("client_cert = {{ mode = '{mode}', trust = '{trust}' }}\n")
}
