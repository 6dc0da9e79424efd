//! Other people's clients, with client certificates, over TLS 1.2 and 1.3.

use portcullis_bench::echo::Echo;
use portcullis_bench::pki::{write_file, write_secret};
use tokio::process::Command;

use crate::harness::tools::{self, run};
use crate::harness::{Gateway, Token, client_ca, client_leaf, server_ca};

/// A gateway with its key in the token that demands certificates, and a client's files in its folder.
async fn demanding(echo: &Echo) -> Gateway {
    let gateway = Gateway::builder()
        .token(Token::shared())
        .client_cert("require", client_ca())
        .upstream(echo)
        .allow("verified")
        .spawn()
        .await;
    let leaf = client_leaf("somebody");
    let folder = gateway.folder();
    write_file(&folder.join("client.pem"), &leaf.chain_pem()).unwrap();
    write_secret(&folder.join("client.key"), leaf.key_pem()).unwrap();
    write_file(&folder.join("roots.pem"), server_ca().root_pem()).unwrap();
    gateway
}

/// Whether a program is installed; if not, says so.
#[expect(
    clippy::print_stderr,
    reason = "a peer that is not there is said, not hidden"
)]
async fn installed(program: &str) -> bool {
    let found = tools::installed(program).await;
    if !found {
        eprintln!("SKIPPED: {program} is not installed");
    }
    found
}

#[tokio::test]
async fn curl_over_http_1_and_2_and_both_versions() {
    let echo = Echo::start().await.unwrap();
    let gateway = demanding(&echo).await;
    let path = |name: &str| gateway.folder().join(name).display().to_string();
    let (cert, key) = (path("client.pem"), path("client.key"));
    for http in ["--http1.1", "--http2"] {
        for version in [
            ["--tlsv1.2", "--tls-max", "1.2"],
            ["--tlsv1.3", "--tls-max", "1.3"],
        ] {
            let mut arguments = vec![http, "--cert", &cert, "--key", &key, "-w", "%{http_code}"];
            arguments.extend(version);
            let said = gateway.curl(&arguments, "/from-curl").await;
            assert!(
                said.stdout.ends_with("200") && said.stdout.contains("spiffe://"),
                "{http} {version:?}: {said:?}"
            );
            let without = gateway
                .curl(&[http, version[0], version[1], version[2]], "/")
                .await;
            assert!(!without.status.success(), "{http} {version:?}: {without:?}");
        }
        let head = gateway
            .curl(&[http, "--head", "--cert", &cert, "--key", &key], "/head")
            .await;
        assert!(
            head.stdout.contains(" 200") && head.status.success(),
            "{head:?}"
        );
    }
}

#[tokio::test]
async fn openssl_sees_the_chain_and_is_served() {
    let echo = Echo::start().await.unwrap();
    let gateway = demanding(&echo).await;
    let path = |name: &str| gateway.folder().join(name).display().to_string();
    let request = "GET /from-openssl HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    for version in ["-tls1_2", "-tls1_3"] {
        let (cert, key) = (path("client.pem"), path("client.key"));
        let arguments = [
            version,
            "-servername",
            "localhost",
            "-cert",
            &cert,
            "-key",
            &key,
            "-ign_eof",
            "-verify_return_error",
        ];
        let said = gateway.s_client(&arguments, request).await;
        assert!(said.stdout.contains("/from-openssl"), "{version}: {said:?}");
        assert!(
            said.stdout.contains("Verify return code: 0 (ok)")
                && said.stdout.contains("Certificate chain"),
            "{said:?}"
        );
    }
}

#[tokio::test]
async fn gnutls_is_served() {
    if !installed("gnutls-cli").await {
        return;
    }
    let echo = Echo::start().await.unwrap();
    let gateway = demanding(&echo).await;
    for priority in [
        "NORMAL:-VERS-ALL:+VERS-TLS1.2",
        "NORMAL:-VERS-ALL:+VERS-TLS1.3",
    ] {
        let mut command = Command::new("gnutls-cli");
        command.current_dir(gateway.folder());
        command.args([
            "--x509cafile",
            "roots.pem",
            "--x509certfile",
            "client.pem",
            "--x509keyfile",
            "client.key",
        ]);
        command.args([
            "--priority",
            priority,
            "--port",
            &gateway.address().port().to_string(),
            "localhost",
        ]);
        let said = run(
            command,
            "GET /from-gnutls HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        )
        .await;
        assert!(said.stdout.contains("/from-gnutls"), "{priority}: {said:?}");
    }
}

#[tokio::test]
async fn python_is_served() {
    if !installed("python3").await {
        return;
    }
    let echo = Echo::start().await.unwrap();
    let gateway = demanding(&echo).await;
    let script = "import ssl, sys, urllib.request\n\
        c = ssl.create_default_context(cafile='roots.pem')\n\
        c.load_cert_chain('client.pem', 'client.key')\n\
        c.minimum_version = c.maximum_version = getattr(ssl.TLSVersion, sys.argv[2])\n\
        print(urllib.request.urlopen(sys.argv[1], context=c).read().decode())\n";
    for version in ["TLSv1_2", "TLSv1_3"] {
        let mut command = Command::new("python3");
        command.current_dir(gateway.folder());
        command.args([
            "-c",
            script,
            &format!("{}/from-python", gateway.url()),
            version,
        ]);
        let said = run(command, "").await;
        assert!(said.stdout.contains("/from-python"), "{version}: {said:?}");
    }
}

#[tokio::test]
async fn node_is_served() {
    if !installed("node").await {
        return;
    }
    let echo = Echo::start().await.unwrap();
    let gateway = demanding(&echo).await;
    let script = "const fs = require('fs'), https = require('https');\n\
        https.get(process.argv[1], { ca: fs.readFileSync('roots.pem'), cert: fs.readFileSync('client.pem'),\n\
          key: fs.readFileSync('client.key'), minVersion: process.argv[2], maxVersion: process.argv[2] },\n\
          r => r.pipe(process.stdout));\n";
    for version in ["TLSv1.2", "TLSv1.3"] {
        let mut command = Command::new("node");
        command.current_dir(gateway.folder());
        command.args([
            "-e",
            script,
            &format!("{}/from-node", gateway.url()),
            version,
        ]);
        let said = run(command, "").await;
        assert!(said.stdout.contains("/from-node"), "{version}: {said:?}");
    }
}

/// A client in Java's own words; run from its source.
const JAVA: &str = r#"
import java.io.*; import java.net.URI; import java.net.http.*; import java.security.*;
import java.security.cert.*; import javax.net.ssl.*;
public class Client {
  public static void main(String[] a) throws Exception {
    KeyStore keys = KeyStore.getInstance("PKCS12");
    keys.load(new FileInputStream("client.p12"), "secret".toCharArray());
    KeyManagerFactory key = KeyManagerFactory.getInstance("PKIX");
    key.init(keys, "secret".toCharArray());
    KeyStore roots = KeyStore.getInstance("PKCS12");
    roots.load(null, null);
    roots.setCertificateEntry("root",
      CertificateFactory.getInstance("X.509").generateCertificate(new FileInputStream("roots.pem")));
    TrustManagerFactory trust = TrustManagerFactory.getInstance("PKIX");
    trust.init(roots);
    SSLContext context = SSLContext.getInstance("TLS");
    context.init(key.getKeyManagers(), trust.getTrustManagers(), null);
    SSLParameters parameters = context.getDefaultSSLParameters();
    parameters.setProtocols(new String[] { a[1] });
    HttpClient client = HttpClient.newBuilder().sslContext(context).sslParameters(parameters).build();
    HttpResponse<String> answer =
      client.send(HttpRequest.newBuilder(URI.create(a[0])).build(), HttpResponse.BodyHandlers.ofString());
    System.out.println(answer.version() + " " + answer.statusCode() + " " + answer.body());
  }
}
"#;

#[tokio::test]
async fn java_is_served() {
    if !installed("java").await {
        return;
    }
    let echo = Echo::start().await.unwrap();
    let gateway = demanding(&echo).await;
    write_file(&gateway.folder().join("Client.java"), JAVA).unwrap();
    let mut command = Command::new("openssl");
    command.current_dir(gateway.folder());
    command.args([
        "pkcs12",
        "-export",
        "-in",
        "client.pem",
        "-inkey",
        "client.key",
    ]);
    command.args(["-out", "client.p12", "-passout", "pass:secret"]);
    let made = run(command, "").await;
    assert!(made.status.success(), "{made:?}");
    for version in ["TLSv1.2", "TLSv1.3"] {
        let mut command = Command::new("java");
        command.current_dir(gateway.folder());
        command.args([
            "Client.java",
            &format!("{}/from-java", gateway.url()),
            version,
        ]);
        let said = run(command, "").await;
        assert!(
            said.stdout.contains("HTTP_2 200") && said.stdout.contains("/from-java"),
            "{version}: {said:?}"
        );
    }
}
