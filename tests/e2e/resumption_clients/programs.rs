//! What is asked to be a client. Those in languages of their own connect twice in every case, and ask
//! `/LANGUAGE/VERSION/with[out]`.

use tokio::process::Command;

use crate::harness::Gateway;
use crate::harness::tools::{self, Said, run};
use crate::hsm_recovery::cause::skip;

/// A program in the gateway's folder.
pub(super) async fn program(
    gateway: &Gateway,
    name: &str,
    arguments: &[&str],
    input: &str,
) -> Said {
    let mut command = Command::new(name);
    command.current_dir(gateway.folder()).args(arguments);
    run(command, input).await
}

/// Whether these are installed; if not, says so.
pub(super) async fn installed(test: &str, programs: &[&str], package: &str) -> bool {
    for program in programs {
        if !tools::installed(program).await {
            skip(test, &format!("no {program}"), package);
            return false;
        }
    }
    true
}

/// `client.p12`, under the password `secret` and the name `client`.
pub(super) async fn pkcs12(gateway: &Gateway) {
    let line = "pkcs12 -export -in client.pem -inkey client.key -name client -out client.p12 \
                -passout pass:secret";
    let words: Vec<&str> = line.split_whitespace().collect();
    let made = program(gateway, "openssl", &words, "").await;
    assert!(made.status.success(), "{made:?}");
}

/// Takes the port.
pub(super) const PYTHON: &str = r#"
import socket, ssl, sys
for version in ["1.2", "1.3"]:
    for which in ["without", "with"]:
        context = ssl.create_default_context(cafile="roots.pem")
        if which == "with":
            context.load_cert_chain("client.pem", "client.key")
        name = "TLSv" + version.replace(".", "_")
        context.minimum_version = context.maximum_version = getattr(ssl.TLSVersion, name)
        session = None
        for round in range(2):
            plain = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
            tls = context.wrap_socket(plain, server_hostname="localhost", session=session)
            path = f"/python/{version}/{which}"
            tls.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            while tls.recv(4096):
                pass
            session = tls.session
            assert tls.session_reused == (round == 1), path
            tls.close()
"#;

/// Takes the port; run from its source.
pub(super) const JAVA: &str = r#"
import java.io.*; import java.security.*; import java.security.cert.*; import javax.net.ssl.*;
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
    for (String version : new String[] { "1.2", "1.3" }) {
      for (String which : new String[] { "without", "with" }) {
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(which.equals("with") ? key.getKeyManagers() : null, trust.getTrustManagers(), null);
        for (int round = 0; round < 2; round++) {
          SSLSocket socket = (SSLSocket) context.getSocketFactory().createSocket("localhost", Integer.parseInt(a[0]));
          SSLParameters parameters = socket.getSSLParameters();
          // Of itself it sends none that has no dot.
          parameters.setServerNames(java.util.List.of(new SNIHostName("localhost")));
          socket.setSSLParameters(parameters);
          socket.setEnabledProtocols(new String[] { "TLSv" + version });
          String request = "GET /java/" + version + "/" + which
            + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
          socket.getOutputStream().write(request.getBytes());
          System.out.println(new String(socket.getInputStream().readAllBytes()));
          socket.close();
        }
      }
    }
  }
}
"#;

/// Takes the port, and the versions.
pub(super) const GO: &str = r#"package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"os"
	"strings"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	pem, err := os.ReadFile("roots.pem")
	must(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	pair, err := tls.LoadX509KeyPair("client.pem", "client.key")
	must(err)
	versions := map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}
	for _, name := range strings.Fields(os.Args[2]) {
		version := versions[name]
		for _, which := range []string{"without", "with"} {
			config := &tls.Config{
				RootCAs: roots, ServerName: "localhost", MinVersion: version, MaxVersion: version,
				ClientSessionCache: tls.NewLRUClientSessionCache(4),
			}
			if which == "with" {
				config.Certificates = []tls.Certificate{pair}
			}
			for round := 0; round < 2; round++ {
				connection, err := tls.Dial("tcp", "127.0.0.1:"+os.Args[1], config)
				must(err)
				fmt.Fprintf(connection, "GET /go/%s/%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", name, which)
				_, err = io.ReadAll(connection)
				must(err)
				connection.Close()
			}
		}
	}
}
"#;
