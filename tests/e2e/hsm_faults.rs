//! A token that is slow, hangs, refuses or is asked with a wrong PIN, through the module that fails on purpose.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use portcullis_bench::echo::Echo;
use portcullis_bench::pki::{write_file, write_secret};
use rustls::AlertDescription;
use rustls::crypto::aws_lc_rs::kx_group;
use tokio::process::Command;

use crate::harness::tools::run;
use crate::harness::{Client, Gateway, GatewayBuilder, SHIM, Token};

/// Settings and counts of the failing module, in a folder of their own.
pub(crate) struct Faults {
    folder: tempfile::TempDir,
}

impl Faults {
    pub(crate) fn new(settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("settings"), settings).unwrap();
        Self { folder }
    }

    /// Takes effect at the next signature.
    pub(crate) fn set(&self, settings: &str) {
        // Moved into place: the module must never read half of it.
        let fresh = self.folder.path().join("settings.new");
        fs::write(&fresh, settings).unwrap();
        fs::rename(fresh, self.folder.path().join("settings")).unwrap();
        // The module looks at the file every two milliseconds at most.
        let end = Instant::now() + Duration::from_millis(3);
        while Instant::now() < end {
            std::thread::park_timeout(end.saturating_duration_since(Instant::now()));
        }
    }

    pub(crate) fn count(&self, function: &str) -> u64 {
        let text = fs::read_to_string(self.counts()).unwrap_or_default();
        let line = text.lines().find(|line| line.contains(function));
        line.and_then(|line| {
            line.split(|c: char| !c.is_ascii_digit())
                .rfind(|word| !word.is_empty())
        })
        .map_or(0, |count| count.parse().unwrap())
    }

    /// The file behind [`Self::count`].
    pub(crate) fn counts(&self) -> PathBuf {
        self.folder.path().join("counts")
    }

    pub(crate) fn environment(&self) -> [(&'static str, PathBuf); 3] {
        [
            ("FAULT_REAL_MODULE", Token::shared().module().to_owned()),
            ("FAULT_SETTINGS", self.folder.path().join("settings")),
            ("FAULT_COUNTS", self.counts()),
        ]
    }
}

/// A gateway whose token stands behind the failing module.
pub(crate) fn behind(faults: &Faults) -> GatewayBuilder {
    let mut builder = Gateway::builder().token(Token::shared()).module(&module());
    for (name, value) in faults.environment() {
        builder = builder.env(name, value);
    }
    builder
}

/// Cargo builds the library beside the tests.
pub(crate) fn module() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let name = "libfault_module.so";
    let beside = tests
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join(name));
    beside
        .into_iter()
        .find(|path| path.exists())
        .expect("cargo builds the fault module with the tests")
}

#[tokio::test]
async fn a_token_that_refuses_ends_the_handshake_with_internal_error_and_recovers() {
    let echo = Echo::start().await.unwrap();
    let faults = Faults::new("");
    let gateway = behind(&faults)
        .upstream(&echo)
        .allow("anyone")
        .spawn()
        .await;
    faults.set("error_every = 1\n");
    for client in [Client::new().tls12(), Client::new().tls13()] {
        let refused = client.get(&gateway, "/").await.unwrap_err();
        assert_eq!(
            refused.alert,
            Some(AlertDescription::InternalError),
            "{refused:?}"
        );
        assert_eq!(
            gateway.refusal_of(refused.port).await["reason"],
            "HSM_UNAVAILABLE"
        );
    }
    faults.set("");
    // So many failures in a row were an outage; the end of it is found out at the next try.
    crate::harness::until("the token is back", async || {
        let answer = Client::new().get(&gateway, "/").await.ok()?;
        assert_eq!(answer.status, 200);
        Some(())
    })
    .await;
}

#[tokio::test]
async fn a_hung_signature_ends_at_its_deadline_and_holds_up_nobody_else() {
    let echo = Echo::start().await.unwrap();
    let faults = Faults::new("");
    let hsm = "sessions = 2\ndeadline = '700ms'";
    let gateway = behind(&faults)
        .hsm(hsm)
        .upstream(&echo)
        .allow("anyone")
        .spawn()
        .await;
    let mut standing = Client::new().connect(gateway.address()).await.unwrap();
    faults.set("hang_every = 1\nhang_ms = 60000\n");
    let address = gateway.address();
    let begun = Instant::now();
    let hung = tokio::spawn(async move { Client::new().connect(address).await.err() });
    crate::harness::until("the signature hangs", async || {
        (gateway
            .metric("portcullis_hsm_in_flight{hsm=\"main\"}")
            .await
            > 0.0)
            .then_some(())
    })
    .await;
    faults.set("");
    // While one session hangs: requests on standing connections, and handshakes over the other session.
    for _ in 0..20 {
        let asked = Instant::now();
        assert_eq!(standing.get("/").await.unwrap().status, 200);
        assert!(
            asked.elapsed() < Duration::from_millis(500),
            "a bystander waited {:?}",
            asked.elapsed()
        );
    }
    let refused = hung.await.unwrap();
    let waited = begun.elapsed();
    if let Some(refused) = refused {
        assert_eq!(
            refused.alert,
            Some(AlertDescription::InternalError),
            "{refused:?}"
        );
        assert!(
            waited < Duration::from_secs(5),
            "the handshake waited {waited:?}"
        );
    }
    assert_eq!(Client::new().get(&gateway, "/").await.unwrap().status, 200);
}

#[tokio::test]
async fn a_full_queue_refuses_at_once() {
    let echo = Echo::start().await.unwrap();
    let faults = Faults::new("");
    let hsm = "sessions = 1\nqueue = 1\ndeadline = '5s'";
    let gateway = behind(&faults)
        .hsm(hsm)
        .upstream(&echo)
        .allow("anyone")
        .spawn()
        .await;
    faults.set("delay_us = 700000\n");
    let address = gateway.address();
    let clients: Vec<_> = (0..8)
        .map(|_| {
            tokio::spawn(async move {
                let begun = Instant::now();
                (Client::new().connect(address).await.err(), begun.elapsed())
            })
        })
        .collect();
    let (mut refused, mut quickest) = (0, Duration::MAX);
    for client in clients {
        if let (Some(error), took) = client.await.unwrap() {
            assert_eq!(
                error.alert,
                Some(AlertDescription::InternalError),
                "{error:?}"
            );
            assert_eq!(gateway.refusal_of(error.port).await["reason"], "HSM_BUSY");
            refused += 1;
            quickest = quickest.min(took);
        }
    }
    assert!((5..=7).contains(&refused), "{refused} of 8 refused");
    assert!(
        quickest < Duration::from_millis(50),
        "the quickest refusal took {quickest:?}"
    );
    assert_eq!(
        gateway
            .metric("portcullis_hsm_rejected_total{hsm=\"main\"}")
            .await,
        f64::from(refused)
    );
}

#[tokio::test]
async fn a_hello_retry_request_signs_off_the_network_thread_too() {
    let echo = Echo::start().await.unwrap();
    let faults = Faults::new("");
    let gateway = behind(&faults)
        .hsm("sessions = 16")
        .upstream(&echo)
        .allow("anyone");
    // The client's first key share is of a group the site does not take.
    let gateway = gateway
        .site(crate::harness::Site::new("localhost").line("tls = { groups = ['secp256r1'] }"))
        .spawn()
        .await;
    faults.set("delay_us = 300000\n");
    let address = gateway.address();
    let begun = Instant::now();
    let clients: Vec<_> = (0..16)
        .map(|_| {
            let client = Client::new()
                .tls13()
                .groups(&[kx_group::X25519, kx_group::SECP256R1]);
            tokio::spawn(async move { client.connect(address).await })
        })
        .collect();
    let mut connections = Vec::new();
    for client in clients {
        let connection = client.await.unwrap().unwrap();
        let kind = connection.tls.kind;
        assert_eq!(kind, rustls::HandshakeKind::FullWithHelloRetryRequest);
        connections.push(connection);
    }
    // Two workers, 300 ms each, one after the other, would take 2.4 s.
    assert!(
        begun.elapsed() < Duration::from_millis(2000),
        "took {:?}",
        begun.elapsed()
    );
    // A client is done when it has sent its Finished, the gateway when it has read it.
    let retried = "portcullis_handshakes_total{version=\"1.3\",kind=\"hello_retry\"}";
    crate::harness::until("all handshakes are counted", async || {
        (gateway.metric(retried).await == 16.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_wrong_pin_is_tried_once_and_named_with_its_line() {
    // A token of its own: a wrong PIN leaves its mark on the token.
    let faults = Faults::new("");
    let folder = faults.folder.path();
    let conf = format!(
        "directories.tokendir = {}\n",
        folder.join("tokens").display()
    );
    fs::create_dir(folder.join("tokens")).unwrap();
    write_file(&folder.join("softhsm2.conf"), &conf).unwrap();
    write_secret(&folder.join("pin"), "471147\n").unwrap();
    write_secret(&folder.join("wrong"), "174711\n").unwrap();
    let real = Token::shared().module().display().to_string();
    let init = [
        "hsm", "init", "--module", &real, "--label", "own", "--so-pin", "file:pin", "--pin",
        "file:pin",
    ];
    let made = shim(folder, &init, &[]).await;
    assert!(made.status.success(), "{made:?}");
    let toml = format!(
        "[hsm.main]\nmodule = '{}'\ntoken = 'own'\npin = 'file:wrong'\n[[listener]]\nbind = '127.0.0.1:0'\n\
         [[site]]\nhosts = ['localhost']\ncertificate = {{ chain = 'none.pem', key = 'pkcs11:object=x' }}\n\
         upstream = 'http://127.0.0.1:1'\n",
        module().display()
    );
    write_file(&folder.join("portcullis.toml"), &toml).unwrap();
    let said = shim(
        folder,
        &["run", "--config", "portcullis.toml"],
        &faults.environment(),
    )
    .await;
    assert_eq!(said.status.code(), Some(3), "{said:?}");
    assert!(
        said.stderr.contains("portcullis.toml:") && said.stderr.contains("PIN"),
        "{said:?}"
    );
    assert!(!said.stderr.contains("174711"), "{said:?}");
    assert_eq!(faults.count("C_Login"), 1);
}

async fn shim(
    folder: &Path,
    arguments: &[&str],
    environment: &[(&str, PathBuf)],
) -> crate::harness::tools::Said {
    let mut command = Command::new(SHIM);
    command
        .args(arguments)
        .current_dir(folder)
        .env("SOFTHSM2_CONF", folder.join("softhsm2.conf"));
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    run(command, "").await
}
