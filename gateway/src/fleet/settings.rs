//! How a store is reached.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::password::PasswordSource;

/// One `[redis.NAME]`.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// For logs and metrics.
    pub name: String,
    /// `redis://` or `rediss://`: the server, some nodes of the Cluster, or the Sentinels. All of one kind.
    pub urls: Vec<String>,
    /// What the addresses are.
    pub mode: Mode,
    /// The user, when it is not the default one.
    pub user: Option<String>,
    /// The password of the servers. Sentinels that want one have it in their address.
    pub password: Option<PasswordSource>,
    /// Who signs the servers' certificates; public authorities when absent.
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

/// What the addresses are addresses of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// One server; of several addresses the first that answers.
    Single,
    /// Nodes of a Cluster.
    Cluster,
    /// Sentinels, which know the master by this name.
    Sentinel {
        /// The name.
        master: String,
    },
}

impl fmt::Debug for Settings {
    /// Without what stands before the `@` of an address.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let urls: Vec<String> = self.urls.iter().map(|url| without_userinfo(url)).collect();
        f.debug_struct("Settings")
            .field("name", &self.name)
            .field("urls", &urls)
            .field("mode", &self.mode)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

/// The address as it may be shown.
fn without_userinfo(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        (None, Some((_, host))) => host.to_owned(),
        (_, None) => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_user_and_no_password_of_an_address_is_shown() {
        for url in [
            "redis://u:p%40@w@host:1/2",
            "redis://:pw@host:1/2",
            "u:pw@host:1/2",
        ] {
            let shown = without_userinfo(url);
            assert!(
                shown.ends_with("host:1/2") && !shown.contains('@'),
                "{shown}"
            );
            assert!(!shown.contains("pw") && !shown.contains("p%"), "{shown}");
        }
        assert_eq!(
            without_userinfo("rediss://[::1]:6379"),
            "rediss://[::1]:6379"
        );
    }
}
