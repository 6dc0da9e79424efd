//! How a store is reached: what the configuration says, without the places it says it at.

use std::path::PathBuf;
use std::time::Duration;

use portcullis_config::{Redis, RedisMode, SecretSource};

/// One `[redis.NAME]`. Two that are equal are the same store. Its addresses hold no passwords: the configuration
/// sees to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// For logs and metrics.
    pub name: String,
    /// `redis://` or `rediss://`, all of one kind.
    pub urls: Vec<String>,
    /// What stands at the addresses; of several single servers the first that answers.
    pub mode: RedisMode,
    /// The user, when it is not the default one.
    pub user: Option<String>,
    /// The password of the servers, and of the Sentinels.
    pub password: Option<SecretSource>,
    /// Who signs the servers' certificates; the system's authorities when absent.
    pub ca: Option<PathBuf>,
    /// Our certificate and its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// For one answer: it may stand within a handshake.
    pub timeout: Duration,
    /// For one connection, all its steps.
    pub connect_timeout: Duration,
    /// In front of every key.
    pub prefix: String,
}

impl From<&Redis> for Settings {
    fn from(redis: &Redis) -> Self {
        let certificate = redis.certificate.as_ref().zip(redis.key.as_ref());
        Self {
            name: redis.name.clone(),
            urls: redis.urls.iter().map(|url| url.value.clone()).collect(),
            mode: redis.mode.clone(),
            user: redis.user.clone(),
            password: redis.password.as_ref().map(|source| source.value.clone()),
            ca: redis.ca.as_ref().map(|path| path.value.clone()),
            certificate: certificate.map(|(chain, key)| (chain.value.clone(), key.value.clone())),
            timeout: redis.timeout,
            connect_timeout: redis.connect_timeout,
            prefix: redis.prefix.clone(),
        }
    }
}
