//! Whole configurations: what is refused and how it is told, then what is understood.

mod files;
mod forwarding;
mod hsm_refusals;
mod mistakes;
mod policy_refusals;
mod refusals;
mod resumption_refusals;
mod secrets;
mod shipped;
mod tcp_refusals;
mod trust_refusals;
mod upstream_refusals;

use std::path::Path;

use crate::{Config, ConfigErrors, SourceMap};

/// A configuration in which nothing is wrong, with something of everything.
const GOOD: &str = r#"
[hsm.main]
module = "/lib/p11.so"
token = "edge"
pin = "env:PIN"
[[listener]]
name = "public"
bind = "0.0.0.0:8443"
client_cert = { mode = "require", trust = "clients.pem" }
[[site]]
name = "api"
http2 = true
hosts = ["api.example.com"]
certificate = { chain = "api.pem", key = "pkcs11:object=api" }
upstream = "orders"
[[role]]
name = "callers"
dns = ["*.clients.example.com"]
[[rule]]
roles = ["callers"]
paths = ["/orders/**"]
[upstream.orders]
endpoints = ["http://127.0.0.1:8080"]
"#;

/// Loads `text` as a file of its own, with `A` as the only environment variable.
fn load(text: &str) -> Result<(Config, SourceMap), ConfigErrors> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("portcullis.toml");
    std::fs::write(&path, text).expect("written");
    load_path(&path)
}

fn load_path(path: &Path) -> Result<(Config, SourceMap), ConfigErrors> {
    Config::load_with(path, &|name| (name == "A").then(|| "a value".to_owned()))
}

fn good(text: &str) -> Config {
    load(text).unwrap_or_else(|errors| panic!("{errors}")).0
}

/// `line:column message` of every mistake.
fn told(text: &str) -> Vec<String> {
    match load(text) {
        Ok(_) => Vec::new(),
        Err(errors) => lines_of(&errors),
    }
}

fn lines_of(errors: &ConfigErrors) -> Vec<String> {
    let place =
        |number: Option<usize>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    let line = |error: &crate::ConfigError| {
        format!(
            "{}:{} {}",
            place(error.line()),
            place(error.column()),
            error.message()
        )
    };
    errors.errors().iter().map(line).collect()
}
