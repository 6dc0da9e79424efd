//! What we ship cannot rot: the annotated default, the examples, the reference, and what is shown.

mod tables;

use std::path::{Path, PathBuf};

use serde_json::Value as Schema;

use self::tables::TABLES;
use super::{GOOD, good, load_path};
use crate::{ChainSource, Config, schema};

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn text_of(name: &str) -> String {
    std::fs::read_to_string(shipped(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The key of a commented line: `#key = value` with an empty mark, `# key = value` with a space.
fn commented<'a>(line: &'a str, mark: &str) -> Option<&'a str> {
    let line = line.strip_prefix('#')?.strip_prefix(mark)?;
    let (key, _) = line.split_once(" = ")?;
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    (!key.is_empty() && key.chars().all(plain)).then_some(line)
}

fn with_defaults(text: &str) -> String {
    text.lines()
        .map(|line| commented(line, "").unwrap_or(line).to_owned() + "\n")
        .collect()
}

fn with_everything(text: &str) -> String {
    let defaults = with_defaults(text);
    defaults
        .lines()
        .map(|line| commented(line, " ").unwrap_or(line).to_owned() + "\n")
        .collect()
}

/// Loads `text` as if it stood in the folder of the shipped files.
fn load_as_shipped(text: &str) -> Config {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("portcullis.toml");
    std::fs::write(&path, text).expect("written");
    load_path(&path)
        .unwrap_or_else(|errors| panic!("{errors}"))
        .0
}

/// Everything but the places, which differ between two files that say the same.
fn meaning(config: &Config) -> String {
    let debug = format!("{config:#?}");
    let lines = debug
        .lines()
        .filter(|line| !line.trim_start().starts_with("span: "));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn every_example_loads() {
    let folder = std::fs::read_dir(shipped("examples")).expect("examples");
    let mut count = 0;
    for entry in folder {
        let path = entry.expect("an entry").path();
        load_path(&path).unwrap_or_else(|errors| panic!("{errors}"));
        count += 1;
    }
    assert!(count > 0);
}

#[test]
fn the_shortest_useful_configuration_is_short() {
    let text = text_of("examples/ingress-mtls.toml");
    let lines = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .count();
    assert!((8..=15).contains(&lines), "{lines}");
}

#[test]
fn the_commented_defaults_are_the_defaults() {
    let text = text_of("portcullis.toml");
    let written = with_defaults(&text);
    assert!(
        text.lines()
            .filter(|line| commented(line, "").is_some())
            .count()
            > 40
    );
    let folder = |config: &Config| {
        let ChainSource::File(path) = &config.sites[0].certificates[0].chain.value else {
            panic!("the chain is no file");
        };
        path.parent().expect("a folder").display().to_string()
    };
    let (bare, full) = (load_as_shipped(&text), load_as_shipped(&written));
    let full_text = full.to_toml().replace(&folder(&full), "");
    assert_eq!(bare.to_toml().replace(&folder(&bare), ""), full_text);
}

#[test]
fn the_commented_examples_are_of_the_vocabulary() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("portcullis.toml");
    std::fs::write(&path, with_everything(&text_of("portcullis.toml"))).expect("written");
    let errors = load_path(&path).expect_err("examples exclude each other");
    let only = [
        "a token is chosen by one of `slot`, `token` and `serial`, not by several",
        "`module` and `signer` exclude each other",
        "`isolation` and `signer` exclude each other",
        "`pin` and `signer` exclude each other",
        "`login_at_count_low` and `signer` exclude each other",
        "give `endpoint` or `endpoints`, not both",
        "two routes of this site have the path `/`",
        "this endpoint is listed twice",
        "ticket keys come from one of `hsm`, `file` and `redis`, not from several",
        "`master` does nothing without `mode = \"sentinel\"`",
        "`trusted` does nothing here: no copy of a client is kept",
        "this site takes early data, which a TCP upstream cannot tell from a copy of it",
        "`hash` does nothing without `balance = \"hash\"`",
        "an endpoint is asked one of `path`, `tcp` and `grpc`",
    ];
    for error in errors.errors() {
        assert!(only.contains(&error.message()), "{error}");
    }
}

#[test]
fn every_key_of_the_schema_is_in_the_annotated_file() {
    let text = with_everything(&text_of("portcullis.toml"));
    let table: toml::Table = text.parse().unwrap_or_else(|error| panic!("{error}"));
    all_there(&schema(), &[&toml::Value::Table(table)], "");
}

/// Every key of `schema` is in one of `values`.
fn all_there(schema: &Schema, values: &[&toml::Value], path: &str) {
    let lists = values.iter().filter_map(|value| value.as_array()).flatten();
    let values: Vec<_> = values
        .iter()
        .copied()
        .filter(|value| value.is_table())
        .chain(lists)
        .collect();
    for (key, inner) in schema
        .get("properties")
        .and_then(Schema::as_object)
        .into_iter()
        .flatten()
    {
        let found: Vec<_> = values.iter().filter_map(|value| value.get(key)).collect();
        assert!(!found.is_empty(), "{path}.{key} is not in portcullis.toml");
        all_there(inner, &found, &format!("{path}.{key}"));
    }
    let tables = values
        .iter()
        .filter_map(|value| value.as_table())
        .flat_map(toml::Table::values);
    match schema
        .get("additionalProperties")
        .filter(|inner| inner.is_object())
    {
        Some(inner) => all_there(inner, &tables.collect::<Vec<_>>(), path),
        None => {
            let items = schema.get("items").or_else(|| schema.get("anyOf")?.get(0));
            items
                .into_iter()
                .for_each(|items| all_there(items, &values, path));
        }
    }
}

#[test]
fn the_samples_for_vendors_load() {
    let page = text_of("../docs/HSM.md");
    let blocks = page.split("```toml\n").skip(1);
    let samples: String = blocks
        .filter_map(|block| block.split("```").next())
        .collect();
    assert!(samples.matches("[hsm.").count() >= 10, "{samples}");
    let named = GOOD.replace("object=api\"", "object=api\", hsm = \"main\"");
    let spare = "[hsm.spare]\nsigner = \"s\"\n";
    let config = good(&format!("{named}{samples}{spare}"));
    assert_eq!(config.hsm_groups.len(), 1);
}

#[test]
fn the_reference_has_every_key_and_no_other() {
    let reference = text_of("../docs/CONFIG.md");
    let schema = schema();
    for (heading, pointer) in TABLES.iter().chain(&[("`[log]`", "/properties/log")]) {
        let begin = format!("\n## {heading}\n");
        let at = reference
            .find(&begin)
            .unwrap_or_else(|| panic!("no section {heading}"));
        let section = &reference[at + begin.len()..];
        let section = &section[..section.find("\n## ").unwrap_or(section.len())];
        let rows = section
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
        let mut rows: Vec<_> = rows.map(|(key, _)| key).collect();
        let table = schema
            .pointer(pointer)
            .unwrap_or_else(|| panic!("no schema for {heading}"));
        let keys = table["properties"]
            .as_object()
            .unwrap_or_else(|| panic!("{heading} is no table"));
        rows.sort_unstable();
        assert_eq!(rows, keys.keys().collect::<Vec<_>>(), "{heading}");
    }
}

#[test]
fn the_reference_tells_the_defaults_of_the_annotated_file() {
    let reference = text_of("../docs/CONFIG.md");
    let text = text_of("portcullis.toml");
    for line in text.lines().filter_map(|line| commented(line, "")) {
        let (key, value) = line.split_once(" = ").expect("a key");
        // Lists and names that depend on the rest of the file are told in words.
        if value.starts_with('[') || matches!(key, "hsm" | "name") {
            continue;
        }
        let told = |row: &str| {
            row.starts_with(&format!("| `{key}` ")) && row.contains(&format!("| `{value}` |"))
        };
        assert!(reference.lines().any(told), "no row with {line}");
    }
}

#[test]
fn what_is_shown_loads_back_to_the_same() {
    let full = with_defaults(&text_of("portcullis.toml"));
    let rich = "state_dir = \"state\"\n".to_owned()
        + &GOOD.replace("object=api", "token=edge;object=api")
        + r#"
[keys]
software = ["file:a $${X}.key"]
[[listener]]
name = "r"
bind = "[::1]:80"
protocol = "redirect"
redirect_port = 8443
proxy_protocol = { from = ["10.0.0.0/8", "2001:db8::/32", "127.0.0.1"] }
[[site]]
hosts = ["*", "*.b.c", "2001:db8::1"]
client_cert = { mode = "accept", trust = ["a.pem", "two"] }
certificate = [{ chain = "a", key = "file:a $${X}.key" }, { chain = "b", key = "pkcs11:token=edge;id=%01%02" }]
tls = { versions = ["1.3"], groups = ["X25519"] }
upstream = "http://[::1]"
resumption = { lifetime = "1h30m", early_data = 9, early_data_store = "s \" t" }
route = [{ path = "/a/b/", early_data = true, upstream = "http://x:81", client_cert = { mode = "require", trust = ["two", "c.pem"] } }, { path = "/a", upstream = "orders" }]
[[role]]
name = "quote \" and \\"
spiffe = "spiffe://td/a/**"
common_name = ["a\tb"]
sha256 = "AA:bb:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:01"
[[role]]
name = "all of it"
match = "all"
trust_domain = "td"
uri = ["urn:a:b", "https://a/b/**"]
subject = [{ o = "Acme", DC = ["b", "a"] }, { "1.2.3" = "x \" y" }]
issuer = { CN = "CA" }
policies = "1.3.6.1.4.1.99999.1"
[[rule]]
roles = ["anyone", "verified", "quote \" and \\"]
hosts = "*.b.c"
methods = "GET"
paths = ["/**", "/a", "/b/**", "/c/{id}/d", "/*/**", "/e/{x}/"]
action = "deny"
[[rule]]
roles = "anyone"
not_roles = ["all of it"]
not_hosts = "x.b.c"
not_methods = ["PUT", "POST"]
not_paths = "/c/*"
from = ["10.0.0.0/8", "::1"]
not_from = "10.1.2.3"
headers = [{ name = "X-Env", values = ["a", "b*", "*c", "*"] }, { name = "y", not_values = "" }]
action = "deny"
shadow = true
[forwarding]
trusted_hops = ["10.0.0.0/8", "::1"]
xfcc = { mode = "append", trusted = ["verified", "quote \" and \\"], details = ["chain", "cert"] }
jwt = { key = "pkcs11:serial=12;object=x", header = "x-id", issuer = "i", audience = "a \" b", lifetime = "5s" }
[[passthrough]]
names = ["p.b.c", "*.p.b.c"]
upstream = "tcp://y:9"
[upstream."raw.a"]
endpoints = ["tcp://[::1]:1", "tcp://h:2"]
protocol = "tcp"
proxy_protocol = "v2"
tls_info = true
[upstream.raw]
endpoint = "tcp://h:3"
protocol = "tcp"
proxy_protocol = "v1"
[[site]]
hosts = "raw.b.c"
certificate = { chain = "a", key = "pkcs11:object=api;token=edge" }
tcp = [{ alpn = ["a", "b"], upstream = "raw.a" }, { upstream = "tcp://x:9" }]
[upstream.signed]
endpoint = "http://s"
sticky = "here"
identity = ["jwt", "client-cert", "client-cert-chain"]
[upstream.many]
endpoints = [{ url = "http://[::1]:8", weight = 1000 }, { url = "http://b" }, "http://c:9"]
balance = "hash"
hash = "header:X-Tenant"
ejection = { failures = 0, for = "1m", max_share = 0.125 }
[upstream.drawn]
endpoint = "http://s"
balance = "p2c"
slow_start = "30s"
dns = { every = "30s" }
retries = { attempts = 0, budget = 0.05, per_try = "1s", on = [504, 502] }
health = { tcp = true, interval = "1s", healthy = 1 }
[upstream.asked]
endpoint = "http://s"
health = { grpc = "a \" b", timeout = "4s" }
ejection = { max_share = 1 }
[limits]
body = "10MB"
[admin]
bind = "off"
socket = "s"
[hsm.a]
signer = "s.sock"
serial = "12"
sessions = 8
queue = "auto"
idle_check = "off"
[hsm.b]
module = "m"
serial = "12"
isolation = "process"
login_at_count_low = true
hang_timeout = "1m"
max_hung = 1024
recovery = "50ms"
[trust.two]
anchors = ["x.pem", "y.pem"]
eku = "required"
max_depth = 0
max_lifetime = "30d"
max_lifetime_action = "report"
min_ec_bits = 384
spki_pins = "sha256/AAcOFRwjKjE4P0ZNVFtiaXB3foWMk5qhqK+2vcTL0tk="
certificate_pins = "00:07:0E:15:1C:23:2A:31:38:3F:46:4D:54:5B:62:69:70:77:7E:85:8C:93:9A:A1:A8:AF:B6:BD:C4:CB:D2:D9"
trust_domains = "td"
ca_names = "hide"
[trust.two.crl]
files = ["crls/", "one.crl"]
urls = "http://a/b.crl"
stale = "1d6h"
scope = "leaf"
[trust.two.ocsp]
mode = "soft"
responder = "http://ocsp.a:8080/x"
nonce = true
[deny]
serial = "00:AB"
spiffe = "spiffe://td/**"
[hsm.c]
signer = "t.sock"
[hsm_group."b c"]
members = ["b", "a"]
hedge = "1s500ms"
[[site]]
hosts = "both.b.c"
key_policy = "generated"
certificate = { chain = "pkcs11:object=x;type=cert", key = "pkcs11:serial=12;object=x" }
upstream = "orders"
[tickets]
fleet = "the \" fleet"
keys = { redis = "one", wrap = "pkcs11:serial=12;object=wrap" }
rotate = "90s"
generation = 18446744073709551615
clock_skew = "0ms"
[resumption]
mode = "stateful"
tickets = 0
max_lineage = "2d"
[redis.one]
urls = "redis://[::1]/3"
[redis."s \" t"]
urls = ["rediss://a.b", "rediss://A.b.:1"]
mode = "sentinel"
master = "m"
user = "u"
password = "credential:p"
ca = "ca.pem"
certificate = "c.pem"
key = "k.pem"
timeout = "10ms"
prefix = "a:b"
[log]
access = "off"
refusals = "./r.log"
"#;
    for text in [full.as_str(), &rich, GOOD] {
        let config = good(text);
        let shown = config.to_toml();
        let again = good(&shown);
        assert_eq!(meaning(&again), meaning(&config), "{shown}");
        assert_eq!(again.to_toml(), shown);
    }
}
