//! One connection, to whatever the addresses are.
//!
//! Everything that may have changed is read for each new one: password, certificates, and who is the master.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_config::RedisMode;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionAddr, ConnectionInfo,
    IntoConnectionInfo, RedisResult, TlsCertificates, TlsMode, Value,
};

use super::error::FleetError;
use super::password;
use super::settings::Settings;

/// Redirections and reconnections that a Cluster may need for one command; `timeout` ends them too.
const CLUSTER_RETRIES: u32 = 3;

/// The shortest wait before one of them, in milliseconds.
const CLUSTER_RETRY_MS: u64 = 5;

/// Debian and Alpine, Fedora, SUSE.
const SYSTEM_AUTHORITIES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
];

/// A connection. Cloning shares it.
#[derive(Clone)]
pub(super) enum Link {
    /// To the server, or to the master that the Sentinels named.
    Server(MultiplexedConnection),
    /// To the nodes of a Cluster.
    Cluster(ClusterConnection),
}

impl Link {
    /// Connects and authenticates.
    pub(super) async fn connect(settings: &Settings) -> Result<Self, FleetError> {
        let way = Way::read(settings)?;
        match &settings.mode {
            RedisMode::Single => way.server(settings).await,
            RedisMode::Cluster => way.cluster(settings).await,
            RedisMode::Sentinel { master } => way.master(settings, master).await,
        }
    }

    /// Runs one command of one key.
    pub(super) async fn run(&mut self, command: &Cmd) -> RedisResult<Value> {
        let answer = match self {
            Self::Server(link) => link.req_packed_command(command).await,
            Self::Cluster(link) => link.req_packed_command(command).await,
        };
        answer?.extract_error()
    }
}

/// Whether Sentinels want a login.
#[derive(Clone, Copy)]
enum Sentinels {
    Open,
    Closed,
}

/// What a connection is made of.
struct Way {
    addresses: Vec<ConnectionInfo>,
    certificates: Option<TlsCertificates>,
    password: Option<zeroize::Zeroizing<String>>,
}

impl Way {
    fn read(settings: &Settings) -> Result<Self, FleetError> {
        let addresses: Vec<ConnectionInfo> = settings
            .urls
            .iter()
            .map(|url| address(url))
            .collect::<Result<_, _>>()?;
        let tls = addresses.iter().filter(|address| is_tls(address)).count();
        if tls != 0 && tls != addresses.len() {
            return Err(FleetError::Address(
                "addresses of one store are all redis:// or all rediss://",
            ));
        }
        let certificates = match tls {
            0 => None,
            _ => Some(certificates(settings)?),
        };
        let password = settings.password.as_ref().map(password::read);
        Ok(Self {
            addresses,
            certificates,
            password: password.transpose()?,
        })
    }

    async fn server(&self, settings: &Settings) -> Result<Link, FleetError> {
        let mut last = FleetError::Address("a store needs an address");
        for address in &self.addresses {
            match self.first_answer(settings, address).await {
                Ok(link) => return Ok(Link::Server(link)),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn first_answer(
        &self,
        settings: &Settings,
        address: &ConnectionInfo,
    ) -> Result<MultiplexedConnection, FleetError> {
        let mut redis = address.redis_settings().clone();
        if let Some(user) = &settings.user {
            redis = redis.set_username(user);
        }
        if let Some(password) = &self.password {
            redis = redis.set_password(password.as_str());
        }
        let address = address.clone().set_redis_settings(redis);
        let client = match &self.certificates {
            Some(certificates) => Client::build_with_tls(address, certificates.clone())?,
            None => Client::open(address)?,
        };
        let config = answers_within(settings);
        Ok(client
            .get_multiplexed_async_connection_with_config(&config)
            .await?)
    }

    async fn cluster(self, settings: &Settings) -> Result<Link, FleetError> {
        let mut builder = ClusterClientBuilder::new(self.addresses)
            .retries(CLUSTER_RETRIES)
            .min_retry_wait(CLUSTER_RETRY_MS)
            .max_retry_wait(milliseconds(settings.timeout).max(CLUSTER_RETRY_MS))
            .connection_timeout(settings.connect_timeout)
            .response_timeout(settings.timeout)
            .overall_response_timeout(Some(settings.timeout));
        if let Some(certificates) = self.certificates {
            builder = builder.certs(certificates).tls(TlsMode::Secure);
        }
        if let Some(user) = &settings.user {
            builder = builder.username(user);
        }
        if let Some(password) = &self.password {
            builder = builder.password(password.as_str());
        }
        let client = builder.build()?;
        Ok(Link::Cluster(client.get_async_connection().await?))
    }

    /// A Sentinel wants the same password, or none: one that wants none refuses a login.
    async fn master(&self, settings: &Settings, master: &str) -> Result<Link, FleetError> {
        let link = self.named_by(settings, master, Sentinels::Open).await;
        match (link, &self.password) {
            (Err(FleetError::Redis(said)), Some(_)) if said.contains("NOAUTH") => {
                self.named_by(settings, master, Sentinels::Closed).await
            }
            (link, _) => link,
        }
    }

    async fn named_by(
        &self,
        settings: &Settings,
        master: &str,
        login: Sentinels,
    ) -> Result<Link, FleetError> {
        let sentinels = self.addresses.iter().map(|address| address.addr().clone());
        let mut builder =
            SentinelClientBuilder::new(sentinels, master, SentinelServerType::Master)?;
        if let Some(certificates) = &self.certificates {
            builder = builder
                .set_client_to_sentinel_certificates(certificates.clone())
                .set_client_to_redis_certificates(certificates.clone())
                .set_client_to_redis_tls_mode(TlsMode::Secure);
        }
        if let (Sentinels::Closed, Some(password)) = (login, &self.password) {
            builder = builder.set_client_to_sentinel_password(password.as_str());
            if let Some(user) = &settings.user {
                builder = builder.set_client_to_sentinel_username(user);
            }
        }
        if let Some(user) = &settings.user {
            builder = builder.set_client_to_redis_username(user);
        }
        if let Some(password) = &self.password {
            builder = builder.set_client_to_redis_password(password.as_str());
        }
        let config = answers_within(settings);
        let link = builder
            .build()?
            .get_async_connection_with_config(&config)
            .await?;
        Ok(Link::Server(link))
    }
}

fn address(url: &str) -> Result<ConnectionInfo, FleetError> {
    let wrong = FleetError::Address("an address is redis://HOST:PORT or rediss://HOST:PORT");
    // A fragment would be `#insecure`.
    if url.contains('#') {
        return Err(wrong);
    }
    match url.into_connection_info() {
        Ok(address) if matches!(address.addr(), ConnectionAddr::Unix(_)) => Err(wrong),
        Ok(address) => Ok(address),
        Err(_) => Err(wrong),
    }
}

fn is_tls(address: &ConnectionInfo) -> bool {
    matches!(address.addr(), ConnectionAddr::TcpTls { .. })
}

fn certificates(settings: &Settings) -> Result<TlsCertificates, FleetError> {
    let client_tls = match &settings.certificate {
        Some((certificate, key)) => Some(ClientTlsConfig {
            client_cert: read(certificate)?,
            client_key: read(key)?,
        }),
        None => None,
    };
    let ca = match &settings.ca {
        Some(ca) => read(ca)?,
        None => system_authorities()?,
    };
    Ok(TlsCertificates {
        client_tls,
        root_cert: Some(ca),
    })
}

/// The bundle of the system, by OpenSSL's variable or where distributions have it. The client's own way would
/// read it for every connection, also where it is not wanted.
fn system_authorities() -> Result<Vec<u8>, FleetError> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let usual = SYSTEM_AUTHORITIES.map(PathBuf::from);
    let mut found = named.into_iter().chain(usual).filter(|path| path.is_file());
    let bundle = found.next().ok_or(FleetError::Address(
        "the system has no bundle of authorities: install ca-certificates, or set `ca`",
    ));
    read(&bundle?)
}

fn read(path: &Path) -> Result<Vec<u8>, FleetError> {
    fs::read(path).map_err(|error| FleetError::Unreadable {
        what: path.to_owned(),
        error,
    })
}

fn answers_within(settings: &Settings) -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(settings.connect_timeout))
        .set_response_timeout(Some(settings.timeout))
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
