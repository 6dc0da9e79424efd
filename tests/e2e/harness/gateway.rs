//! A gateway described, written down as TOML, and started.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use portcullis_bench::echo::Echo;
use portcullis_bench::pki::{Ca, write_file};
use tempfile::TempDir;

use super::keys::{Keys, software_uri};
use super::process::Process;
use super::site::client_cert;
use super::token::LABEL;
use super::{KeyKind, Site, Token};

/// A gateway to be. Without a listener there is one, `main`; without a site there is `localhost`; without a
/// rule everything is denied.
#[derive(Debug)]
pub(crate) struct GatewayBuilder {
    keys: Keys,
    /// More keys in files that are allowed.
    software: Vec<String>,
    /// The PKCS#11 library, where it is not the token's own.
    module: Option<PathBuf>,
    hsm_lines: String,
    listeners: Vec<(String, String)>,
    client_cert: Option<(String, String)>,
    sites: Vec<Site>,
    /// Name, PEM and more keys of trust bundles.
    trusts: Vec<(String, String, String)>,
    tables: String,
    top: String,
    environment: Vec<(String, String)>,
    under: Vec<String>,
}

/// A running gateway. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(super) process: Process,
    pub(super) folder: TempDir,
}

impl Gateway {
    /// A gateway with software keys.
    pub(crate) fn builder() -> GatewayBuilder {
        GatewayBuilder {
            keys: Keys::Software,
            software: Vec::new(),
            module: None,
            hsm_lines: String::new(),
            listeners: Vec::new(),
            client_cert: None,
            sites: Vec::new(),
            trusts: Vec::new(),
            tables: String::new(),
            top: String::new(),
            environment: Vec::new(),
            under: Vec::new(),
        }
    }

    /// A gateway with software keys that lets everybody do everything on `localhost`.
    pub(crate) async fn open_to_all(echo: &Echo) -> Self {
        Self::builder().upstream(echo).allow("anyone").spawn().await
    }

    /// The same over HTTP/3, too; not started yet.
    pub(crate) fn with_h3(echo: &Echo) -> GatewayBuilder {
        Self::builder()
            .listener("main", "http3 = true")
            .upstream(echo)
            .allow("anyone")
    }
}

impl GatewayBuilder {
    /// Keys in files instead of a token; the default.
    pub(crate) fn software_keys(mut self) -> Self {
        self.keys = Keys::Software;
        self
    }

    /// One more key in a file that is allowed.
    pub(crate) fn software_key(mut self, path: &Path) -> Self {
        self.software.push(format!("file:{}", path.display()));
        self
    }

    /// Keys in the token of the run.
    pub(crate) fn token(mut self, token: &'static Token) -> Self {
        self.keys = Keys::Token(token);
        self
    }

    /// Another PKCS#11 library in front of the token, such as the one that fails.
    pub(crate) fn module(mut self, module: &Path) -> Self {
        self.module = Some(module.to_owned());
        self
    }

    /// More keys of `[hsm.main]`, such as `sessions = 1`.
    pub(crate) fn hsm(mut self, toml: &str) -> Self {
        self.hsm_lines.push_str(toml);
        self.hsm_lines.push('\n');
        self
    }

    /// One more variable in the process' environment.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<Path>) -> Self {
        let value = value.as_ref().display().to_string();
        self.environment.push((name.to_owned(), value));
        self
    }

    /// A program, with its arguments, that runs the gateway in its own place, such as `setpriv`.
    pub(crate) fn under(mut self, words: &[&str]) -> Self {
        self.under = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// More keys that belong to no table, such as `state_dir = '...'`.
    pub(crate) fn top(mut self, toml: &str) -> Self {
        self.top.push_str(toml);
        self.top.push('\n');
        self
    }

    /// A listener on a free port, with more keys of `[[listener]]`.
    pub(crate) fn listener(mut self, name: &str, toml: &str) -> Self {
        self.listeners.push((name.to_owned(), toml.to_owned()));
        self
    }

    /// What the listeners ask of clients: the mode as in the configuration, and whom to trust.
    pub(crate) fn client_cert(mut self, mode: &str, ca: &Ca) -> Self {
        self.client_cert = Some((mode.to_owned(), ca.pem().to_owned()));
        self
    }

    /// A trust bundle `[trust.NAME]` with this CA (written to `NAME.pem`), and more keys or sub-tables of it.
    pub(crate) fn trust(mut self, name: &str, ca: &Ca, toml: &str) -> Self {
        self.trusts
            .push((name.to_owned(), ca.pem().to_owned(), toml.to_owned()));
        self
    }

    /// What the only listener asks of clients, by the name of a [`Self::trust`].
    pub(crate) fn demand(self, mode: &str, trust: &str) -> Self {
        let demand = format!("client_cert = {{ mode = '{mode}', trust = '{trust}' }}\n");
        self.listener("main", &demand)
    }

    /// One more site.
    pub(crate) fn site(mut self, site: Site) -> Self {
        self.sites.push(site);
        self
    }

    /// A role, by the keys of `[[role]]`.
    pub(crate) fn role(self, toml: &str) -> Self {
        self.extra_toml(&format!("[[role]]\n{toml}"))
    }

    /// A rule, by the keys of `[[rule]]`.
    pub(crate) fn rule(self, toml: &str) -> Self {
        self.extra_toml(&format!("[[rule]]\n{toml}"))
    }

    /// A rule that allows this role everything.
    pub(crate) fn allow(self, role: &str) -> Self {
        self.rule(&format!("roles = ['{role}']"))
    }

    /// The upstream `echo`.
    pub(crate) fn upstream(self, echo: &Echo) -> Self {
        self.upstream_at("echo", &echo.url(), "")
    }

    /// An upstream by name and URL, with more keys of `[upstream.NAME]`.
    pub(crate) fn upstream_at(self, name: &str, url: &str, toml: &str) -> Self {
        self.extra_toml(&format!("[upstream.{name}]\nendpoint = '{url}'\n{toml}"))
    }

    /// More tables, such as `[limits]`.
    pub(crate) fn extra_toml(mut self, toml: &str) -> Self {
        self.tables.push_str(toml);
        self.tables.push('\n');
        self
    }

    /// Writes everything into a folder and starts the process; ready to serve when this returns.
    pub(crate) async fn spawn(self) -> Gateway {
        let folder = tempfile::tempdir().unwrap();
        self.write(folder.path());
        let mut environment = self.environment;
        if let Keys::Token(token) = self.keys {
            environment.push((
                "SOFTHSM2_CONF".to_owned(),
                token.conf().display().to_string(),
            ));
        }
        let process = Process::start(folder.path(), &environment, &self.under).await;
        Gateway { process, folder }
    }

    /// Writes the configuration, and what it names, into `folder`; starts nothing.
    pub(crate) fn write(&self, folder: &Path) {
        let mut toml = "workers = 2\n".to_owned() + &self.top;
        if !self.top.contains("state_dir") {
            // Not the machine's: what one gateway remembers is nothing to another.
            toml += "state_dir = './state'\n";
        }
        toml += "[admin]\nbind = '127.0.0.1:0'\nsocket = './admin.sock'\n";
        toml += "[log]\naccess = './access.log'\nrefusals = './refusals.log'\n";
        let fallback = [Site::new("localhost")];
        let sites = match self.sites.is_empty() {
            true => &fallback[..],
            false => &self.sites[..],
        };
        self.write_keys(&mut toml, sites);
        let main = [("main".to_owned(), String::new())];
        let listeners = match self.listeners.is_empty() {
            true => &main[..],
            false => &self.listeners[..],
        };
        for (name, lines) in listeners {
            let head = format!("[[listener]]\nname = '{name}'\nbind = '127.0.0.1:0'\n");
            writeln!(toml, "{head}{lines}").unwrap();
            if let Some((mode, ca)) = &self.client_cert {
                toml.push_str(&client_cert(folder, "listener", mode, ca));
            }
        }
        for (index, site) in sites.iter().enumerate() {
            toml.push_str(&site.write(self.keys, folder, &format!("site{index}")));
        }
        for (name, pem, lines) in &self.trusts {
            write_file(&folder.join(format!("{name}.pem")), pem).unwrap();
            writeln!(toml, "[trust.{name}]\nanchors = '{name}.pem'\n{lines}").unwrap();
        }
        toml.push_str(&self.tables);
        fs::write(folder.join("portcullis.toml"), toml).unwrap();
    }

    fn write_keys(&self, toml: &mut String, sites: &[Site]) {
        match self.keys {
            Keys::Software => {
                let kinds = KeyKind::ALL;
                let used = kinds
                    .into_iter()
                    .filter(|kind| sites.iter().any(|site| site.kinds().contains(kind)));
                let more = self.software.iter().cloned();
                let keys: Vec<String> = used.map(software_uri).chain(more).collect();
                writeln!(toml, "[keys]\nsoftware = {keys:?}").unwrap();
            }
            Keys::Token(token) => {
                let module = self.module.as_deref().unwrap_or(token.module()).display();
                let pin = token.pin();
                let pin = pin.display();
                writeln!(
                    toml,
                    "[hsm.main]\nmodule = '{module}'\ntoken = '{LABEL}'\npin = 'file:{pin}'"
                )
                .unwrap();
                toml.push_str(&self.hsm_lines);
            }
        }
    }
}
