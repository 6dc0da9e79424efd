//! Roles of clients that are named by their organization and unit, over real handshakes.

use portcullis_bench::echo::Echo;
use portcullis_bench::pki::{self, Attribute, Leaf};

use crate::harness::{Client, Gateway, client_ca};

fn leaf(common_name: &str, attributes: &[(Attribute, &str)]) -> Leaf {
    let client = pki::Client::new(common_name);
    client.issued_with(attributes, client_ca()).unwrap()
}

#[tokio::test]
async fn organization_and_unit_make_a_role_only_together_and_byte_by_byte() {
    use Attribute::{Organization, Unit};
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::builder()
        .client_cert("require", client_ca())
        .upstream(&echo)
        .role("name = 'payments'\nsubject = { O = 'Acme', OU = 'Payments' }")
        .role("name = 'acme'\nmatch = 'all'\nsubject = { O = 'Acme' }\nissuer = { O = 'Portcullis demo' }")
        .role("name = 'strangers'\nsubject = { O = 'Acme' }\nissuer = { O = 'Acme' }\nmatch = 'all'")
        .rule("roles = ['payments']\npaths = ['/payments']")
        .rule("roles = ['acme']\npaths = ['/acme']")
        .rule("roles = ['strangers']\npaths = ['/strangers']")
        .spawn()
        .await;
    let unit = (Unit, "Payments");
    for (who, payments, acme) in [
        (leaf("a", &[(Organization, "Acme"), unit]), 200, 200),
        (leaf("a", &[unit, (Organization, "Acme")]), 200, 200),
        (leaf("a", &[(Organization, "Acme")]), 403, 200),
        (leaf("a", &[(Organization, "acme"), unit]), 403, 403),
        (leaf("a", &[(Organization, "Acme "), unit]), 403, 403),
        (leaf("a", &[(Organization, "\u{410}cme"), unit]), 403, 403),
        (leaf("a", &[(Organization, "Acme\0"), unit]), 403, 403),
        (leaf("a", &[(Organization, "Acme, OU=Payments")]), 403, 403),
        (
            leaf("a", &[(Unit, "Acme"), (Organization, "Payments")]),
            403,
            403,
        ),
        (leaf("Acme", &[unit]), 403, 403),
    ] {
        let client = Client::new().certificate(&who);
        for client in [client.clone(), client.h2()] {
            let mut connection = client.connect(gateway.address()).await.unwrap();
            for (path, expected) in [
                ("/payments", payments),
                ("/acme", acme),
                ("/strangers", 403),
            ] {
                let answer = connection.get(path).await.unwrap();
                assert_eq!(answer.status, expected, "{path}");
                assert_eq!(answer.port, connection.tls.port);
            }
        }
    }
}
