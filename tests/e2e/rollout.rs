//! From `accept` to `require`: who was seen, and who would be refused.

use portcullis_bench::echo::Echo;
use portcullis_bench::pki::{self, Validity};
use serde_json::Value;

use crate::harness::{Client, Gateway, Site, client_ca, client_leaf};

async fn report(gateway: &Gateway, word: &str) -> Vec<Value> {
    let said = gateway.ask(&[word, "--json"]).await;
    serde_json::from_str(&said).unwrap()
}

#[tokio::test]
async fn those_without_a_certificate_are_told_by_address_until_it_is_required() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::builder()
        .trust("clients", client_ca(), "")
        .demand("accept", "clients")
        .upstream(&echo)
        .allow("anyone")
        .spawn()
        .await;
    assert!(
        gateway
            .ask(&["rollout"])
            .await
            .contains("nobody that was seen would be refused")
    );
    let known = Client::new().certificate(&client_leaf("orders"));
    for client in [Client::new(), Client::new().tls12(), known.clone()] {
        assert_eq!(client.get(&gateway, "/").await.unwrap().status, 200);
    }
    let rollout = report(&gateway, "rollout").await;
    let [missing] = &rollout[..] else {
        panic!("{rollout:?}");
    };
    assert_eq!(missing["reason"], "CLIENT_CERT_MISSING");
    assert_eq!(missing["who"], "127.0.0.1");
    assert_eq!(
        (&missing["site"], &missing["connections"]),
        (&"localhost".into(), &2.into())
    );
    let said = gateway.ask(&["rollout"]).await;
    assert!(
        said.contains("127.0.0.1") && said.contains("CLIENT_CERT_MISSING"),
        "{said}"
    );
    // The report was right.
    gateway.rewrite_config(|text| text.replace("mode = 'accept'", "mode = 'require'"));
    gateway.reload().await.unwrap();
    let refused = Client::new().get(&gateway, "/").await.unwrap_err();
    assert_eq!(
        gateway.refusal_of(refused.port).await["reason"],
        "CLIENT_CERT_MISSING"
    );
    assert_eq!(known.get(&gateway, "/").await.unwrap().status, 200);
}

#[tokio::test]
async fn certificates_that_were_seen_are_listed_with_those_that_end_first_in_front() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::builder()
        .trust("clients", client_ca(), "")
        .demand("require", "clients")
        .site(Site::new("localhost"))
        .upstream(&echo)
        .allow("anyone")
        .spawn()
        .await;
    let soon = Validity::For(std::time::Duration::from_secs(3 * 86_400 - 60));
    let short = pki::Client::new("short")
        .serial(0xabc)
        .validity(soon)
        .key(pki::KeyKind::Rsa2048);
    let short = Client::new().certificate(&short.issued_by(client_ca()).unwrap());
    let orders = Client::new().certificate(&client_leaf("orders"));
    for client in [&orders, &orders, &short] {
        assert_eq!(client.get(&gateway, "/").await.unwrap().status, 200);
    }
    let seen = report(&gateway, "clients").await;
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert_eq!(seen[0]["subject"], "CN=short");
    assert_eq!(
        (&seen[0]["serial"], &seen[0]["days_left"]),
        (&"abc".into(), &2.into())
    );
    let weak: Vec<_> = seen[0]["weak"].as_array().unwrap().iter().collect();
    assert_eq!(weak, ["RSA key of 2048 bits", "named by its subject alone"]);
    assert_eq!(seen[1]["spiffe"], "spiffe://test.portcullis/orders");
    assert_eq!(
        (&seen[1]["connections"], &seen[1]["verified"]),
        (&2.into(), &true.into())
    );
    let said = gateway.ask(&["clients"]).await;
    assert!(
        said.lines().next().unwrap().contains("2 days  CN=short"),
        "{said}"
    );
    let bucket =
        |le: &str| format!("portcullis_client_certificate_days_left_bucket{{le=\"{le}\"}}");
    for (le, count) in [("1", 0.0), ("7", 2.0), ("+Inf", 2.0)] {
        assert_eq!(gateway.metric(&bucket(le)).await, count, "{le}");
    }
    let (_, metrics) = gateway.probe("/metrics").await;
    assert!(
        !metrics.contains("orders") && !metrics.contains("CN="),
        "no names in metrics"
    );
    assert_eq!(
        gateway.probe("/clients").await.0,
        404,
        "nor on the open address"
    );
}

#[tokio::test]
async fn the_inventory_is_bounded() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::builder()
        .trust("clients", client_ca(), "")
        .demand("require", "clients")
        .upstream(&echo)
        .allow("anyone")
        .extra_toml("[limits]\ninventory = 3")
        .spawn()
        .await;
    for number in 0..5 {
        let client = Client::new().certificate(&client_leaf(&format!("client-{number}")));
        assert_eq!(client.get(&gateway, "/").await.unwrap().status, 200);
    }
    assert_eq!(report(&gateway, "clients").await.len(), 3);
}
