//! The demo's certificates and its configuration. The names are fixed: scripts and the README use
//! them.

use crate::pki::{self, Ca, Client, Validity};

use super::Settings;
use super::token::{KEY_URI, Place, ServerKey};

/// Who the good client is.
const ORDERS: &str = "spiffe://demo.portcullis/orders";

/// Writes `ca.pem`, `server.pem`, the three clients and `portcullis.toml`.
pub(super) fn write(settings: &Settings, key: &ServerKey, upstream: &str) -> anyhow::Result<()> {
    let folder = &settings.folder;
    let ca = Ca::root("Portcullis demo CA")?;
    ca.write_trust(&folder.join("ca.pem"))?;
    let server = ca.server_chain(&["localhost", "127.0.0.1"], &key.public_key)?;
    pki::write_file(&folder.join("server.pem"), &server)?;

    let orders = Client::new("orders").uri(ORDERS)?;
    orders.issued_by(&ca)?.write(folder, "orders")?;
    let expired = orders.clone().validity(Validity::Expired);
    expired.issued_by(&ca)?.write(folder, "expired")?;
    let nobody = Ca::root("Somebody else's CA")?;
    orders.issued_by(&nobody)?.write(folder, "stranger")?;

    pki::write_file(
        &folder.join("portcullis.toml"),
        &config(settings, key, upstream),
    )
}

fn config(settings: &Settings, key: &ServerKey, upstream: &str) -> String {
    let (https, admin) = (settings.https, settings.admin);
    let (keys, name) = match &key.place {
        Place::Token { module, .. } => {
            // A TOML string is a JSON string.
            let module = serde_json::Value::from(module.to_string_lossy());
            let table =
                format!("[hsm.main]\nmodule = {module}\ntoken = \"demo\"\npin = \"file:pin\"");
            (table, KEY_URI)
        }
        Place::File => (
            "[keys]\nsoftware = [\"file:server.key\"]".to_owned(),
            "file:server.key",
        ),
    };
    format!(
        r#"# Written by portcullis-demo at each start: changes are lost.

{keys}

[[listener]]
name = "https"
bind = "{https}"
client_cert = {{ mode = "require", trust = "ca.pem" }}
# Clients that connect to 127.0.0.1 send no server name.
default_site = "demo"

[[site]]
name = "demo"
hosts = ["localhost", "127.0.0.1"]
certificate = {{ chain = "server.pem", key = "{name}" }}

[[site.route]]
path = "/"
upstream = "echo"

[[role]]
name = "orders"
spiffe = ["{ORDERS}"]

# The only rule: whatever it does not allow is refused.
[[rule]]
name = "orders may work on orders"
roles = ["orders"]
paths = ["/orders", "/orders/**"]

[upstream.echo]
endpoints = ["{upstream}"]

[admin]
bind = "{admin}"
socket = "admin.sock"
"#
    )
}
