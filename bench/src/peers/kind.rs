//! What a peer is: a program, what it can do, and how it is set up.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::certificates::Certificates;
use super::scenario::{Clients, ServerKey};
use super::token::Token;

/// What not every peer can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ability {
    /// HTTP/2 to clients.
    Http2,
    /// HTTP/3 to clients.
    Http3,
    /// The group X25519MLKEM768.
    Mlkem,
    /// TLS 1.2.
    Tls12,
    /// A private key in a token.
    Token,
}

impl Ability {
    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http2 => "HTTP/2",
            Self::Http3 => "HTTP/3",
            Self::Mlkem => "X25519MLKEM768",
            Self::Tls12 => "TLS 1.2",
            Self::Token => "a key in a token",
        }
    }
}

/// A program that terminates TLS, and how it is set up for this comparison.
pub(super) struct Kind {
    /// What it is called.
    pub(super) name: &'static str,
    /// What its program is called.
    pub(super) programs: &'static [&'static str],
    /// Arguments with which it tells its version; none if it does not.
    pub(super) ask: &'static [&'static str],
    /// What it can do, by what it tells of itself.
    pub(super) abilities: fn(&str) -> Vec<Ability>,
    /// What is switched on, for people.
    pub(super) on: &'static str,
    /// How it is started.
    pub(super) launch: fn(&Stage<'_>) -> Launch,
}

/// Variants of a peer in one scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Variant {
    /// As ever.
    Usual,
    /// More than one worker on the one core: a worker that waits for a token holds up nobody else.
    ManyWorkers,
    /// The token's library inside the gateway.
    InProcess,
}

/// What a peer is given.
pub(super) struct Stage<'a> {
    /// A folder of its own.
    pub(super) folder: &'a Path,
    /// Its certificates.
    pub(super) certificates: &'a Certificates,
    /// Which of them it shows.
    pub(super) server: ServerKey,
    /// What it asks of clients.
    pub(super) clients: Clients,
    /// Where it listens.
    pub(super) listen: SocketAddr,
    /// Where its metrics may be.
    pub(super) admin: SocketAddr,
    /// Where requests go.
    pub(super) origin: SocketAddr,
    /// What it told about its version.
    pub(super) told: &'a str,
    /// What it can do.
    pub(super) abilities: &'a [Ability],
    /// The token, where the key is in one.
    pub(super) token: Option<&'a Token>,
    /// Which variant of it.
    pub(super) variant: Variant,
}

impl Stage<'_> {
    /// The certificate chain.
    pub(super) fn chain(&self) -> String {
        self.certificates.file(self.name(), "crt")
    }

    /// The private key.
    pub(super) fn key(&self) -> String {
        self.certificates.file(self.name(), "key")
    }

    /// Key and chain in one file.
    pub(super) fn both(&self) -> String {
        self.certificates.file(self.name(), "pem")
    }

    /// The CA of server and clients.
    pub(super) fn ca(&self) -> String {
        self.certificates.file("ca", "crt")
    }

    /// A path in its folder.
    pub(super) fn own(&self, name: &str) -> String {
        path_text(&self.folder.join(name))
    }

    /// Whether it can do this.
    pub(super) fn can(&self, ability: Ability) -> bool {
        self.abilities.contains(&ability)
    }

    /// The text if clients must show a certificate, else nothing.
    pub(super) fn if_certified(&self, text: String) -> String {
        match self.clients {
            Clients::Certified => text,
            Clients::Anybody => String::new(),
        }
    }

    fn name(&self) -> &'static str {
        match self.server {
            ServerKey::Ecdsa => "ecdsa",
            ServerKey::Rsa => "rsa",
            ServerKey::Token => "token",
        }
    }
}

/// How a peer is started.
#[derive(Debug, Default)]
pub(super) struct Launch {
    /// Files to write into its folder first.
    pub(super) files: Vec<(&'static str, String)>,
    /// Its arguments.
    pub(super) arguments: Vec<String>,
    /// Its environment, beside ours.
    pub(super) environment: Vec<(&'static str, String)>,
}

/// Paths here are made by this program, and are UTF-8 unless the temporary folder is not.
pub(super) fn path_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Whether this process is root: some peers then want to be told whom to become.
pub(super) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Where a program is: in one of the folders of `PATH`, or where servers usually lie.
pub(super) fn find(programs: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/usr/local/sbin", "/usr/local/bin"];
    let folders = std::env::split_paths(&path).chain(usual.map(PathBuf::from));
    let folders: Vec<PathBuf> = folders.collect();
    let paths = programs
        .iter()
        .flat_map(|program| folders.iter().map(move |folder| folder.join(program)));
    paths.into_iter().find(|path| path.is_file())
}

/// The line of a version that has a number in it, and the TLS library it names.
pub(super) fn version_in(told: &str) -> String {
    let numbered = |line: &&str| line.contains(|c: char| c.is_ascii_digit());
    let line = told.lines().map(str::trim).find(numbered);
    let line = line.unwrap_or("version not told");
    match library_in(told) {
        Some(library) if !line.contains(&library) => format!("{line}, {library}"),
        _ => line.to_owned(),
    }
}

fn library_in(told: &str) -> Option<String> {
    for name in ["AWS-LC", "BoringSSL"] {
        if told.contains(name) {
            return Some(name.to_owned());
        }
    }
    // The last one is the one it runs with, not the one it was built with.
    let (_, version) = told.rsplit_once("OpenSSL 3")?;
    let digits = version.chars();
    let digits: String = digits
        .take_while(|c| c.is_ascii_digit() || *c == '.')
        .collect();
    Some(format!("OpenSSL 3{digits}"))
}

/// Whether the TLS library that is named knows X25519MLKEM768.
pub(super) fn library_has_mlkem(told: &str) -> bool {
    match library_in(told).as_deref() {
        Some("AWS-LC" | "BoringSSL") => true,
        Some(openssl) => {
            let minor = openssl.strip_prefix("OpenSSL 3.");
            let minor = minor.and_then(|rest| rest.split('.').next()?.parse::<u32>().ok());
            minor.is_some_and(|minor| minor >= 5)
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_nowhere_is_none() {
        assert_eq!(find(&["no-such-program-at-all"]), None);
        assert!(find(&["no-such-program-at-all", "sh"]).is_some());
    }

    #[test]
    fn the_version_is_the_line_with_a_number_and_the_library_it_runs_with() {
        let nginx = "nginx version: nginx/1.22.1\nbuilt with OpenSSL 3.0.22 25 Aug 2026 \
                     (running with OpenSSL 3.0.19 27 Jan 2026)\n";
        assert_eq!(
            version_in(nginx),
            "nginx version: nginx/1.22.1, OpenSSL 3.0.19"
        );
        let stunnel = "Initializing inetd mode configuration\nstunnel 5.68 on x86_64\n";
        assert_eq!(version_in(stunnel), "stunnel 5.68 on x86_64");
        let envoy = "\nenvoy  version: 9e55/1.40.0/Clean/RELEASE/BoringSSL\n";
        assert_eq!(
            version_in(envoy),
            "envoy  version: 9e55/1.40.0/Clean/RELEASE/BoringSSL"
        );
        assert_eq!(version_in(""), "version not told");
    }

    #[test]
    fn only_newer_libraries_have_the_hybrid_group() {
        assert!(!library_has_mlkem("running with OpenSSL 3.0.19"));
        assert!(!library_has_mlkem("nothing"));
        assert!(library_has_mlkem("OpenSSL 3.0.1 ... OpenSSL 3.5.0"));
        assert!(library_has_mlkem("built with AWS-LC FIPS"));
    }
}
