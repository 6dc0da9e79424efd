//! A group: tokens, also of different modules, that hold the same keys and stand in for each other.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustls::pki_types::CertificateDer;

use crate::error::HsmError;
use crate::holder::Holder;
use crate::key::{Extractable, Key};
use crate::link::{FoundKey, FoundSecret};
use crate::secret::{Generation, Secret};
use crate::token::Token;
use crate::uri::Pkcs11Uri;

/// Tokens that hold the same keys. Clones share it.
#[derive(Clone)]
pub struct Group(Arc<Inner>);

struct Inner {
    name: String,
    members: Vec<Token>,
    hedge: Option<Duration>,
    counters: Counters,
}

#[derive(Default)]
pub(crate) struct Counters {
    failovers: AtomicU64,
}

impl Group {
    /// A group of open tokens; some may be away ([`Token::open_or_away`]). With `hedge`, a signature that
    /// takes longer is asked of another member too.
    pub fn new(name: &str, members: Vec<Token>, hedge: Option<Duration>) -> Self {
        Group(Arc::new(Inner {
            name: name.to_owned(),
            members,
            hedge,
            counters: Counters::default(),
        }))
    }

    /// Its name in the configuration.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its tokens.
    pub fn members(&self) -> &[Token] {
        &self.0.members
    }

    /// Signatures that were asked of another member, because the first failed or took long.
    pub fn failovers(&self) -> u64 {
        self.0.counters.failovers.load(Ordering::Relaxed)
    }

    /// The private key that `uri` names in every member that is there; all must hold the same public key.
    /// A member that is away is looked at when it returns: it signs only with the key that has this public key.
    ///
    /// # Errors
    /// As [`Token::key`]; and [`HsmError::GroupKeysDiffer`], [`HsmError::GroupAway`].
    pub fn key(&self, uri: &Pkcs11Uri, extractable: Extractable) -> Result<Key, HsmError> {
        Key::held(&Holder::Group(self.clone()), uri, extractable)
    }

    /// The secret that `uri` names in every member that is there; all must derive the same from it. A member that
    /// is away is looked at when it returns: it derives only if it is the same secret.
    ///
    /// # Errors
    /// As [`Token::secret`]; and [`HsmError::GroupKeysDiffer`], [`HsmError::GroupAway`].
    pub fn secret(&self, uri: &Pkcs11Uri, extractable: Extractable) -> Result<Secret, HsmError> {
        Secret::held(&Holder::Group(self.clone()), uri, extractable)
    }

    /// The highest generation that a member which is there keeps beside the secret `uri` names.
    ///
    /// # Errors
    /// As [`Token::generation`], and [`HsmError::GroupAway`].
    pub fn generation(&self, uri: &Pkcs11Uri) -> Result<Generation, HsmError> {
        let kept = self.all_there(|token| token.generation(uri))?;
        let highest = kept.into_iter().reduce(Generation::max);
        highest.ok_or_else(|| self.away())
    }

    /// The certificate chain that `uri` names, from the first member that is there.
    ///
    /// # Errors
    /// As [`Token::chain`], and [`HsmError::GroupAway`].
    pub fn chain(&self, uri: &Pkcs11Uri) -> Result<Vec<CertificateDer<'static>>, HsmError> {
        self.first_there(|token| token.chain(uri))
    }

    /// After how long another member is asked too.
    pub fn hedge(&self) -> Option<Duration> {
        self.0.hedge
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.0.counters
    }

    pub(crate) fn find(&self, uri: &Pkcs11Uri) -> Result<FoundKey, HsmError> {
        let mut ours: Option<FoundKey> = None;
        for theirs in self.all_there(|token| token.find(uri))? {
            let ours = ours.get_or_insert_with(|| theirs.clone());
            if ours.spki != theirs.spki {
                return Err(self.differ(uri));
            }
            // The worst of them is what can be said of the key.
            ours.info.provenance = ours.info.provenance.max(theirs.info.provenance);
        }
        ours.ok_or_else(|| self.away())
    }

    pub(crate) fn find_secret(&self, uri: &Pkcs11Uri) -> Result<FoundSecret, HsmError> {
        let mut ours: Option<FoundSecret> = None;
        for theirs in self.all_there(|token| token.find_secret(uri))? {
            let ours = ours.get_or_insert_with(|| theirs.clone());
            if ours.check != theirs.check {
                return Err(self.differ(uri));
            }
            ours.info.provenance = ours.info.provenance.max(theirs.info.provenance);
        }
        ours.ok_or_else(|| self.away())
    }

    /// The answers of all members that are there.
    fn all_there<T>(
        &self,
        mut ask: impl FnMut(&Token) -> Result<T, HsmError>,
    ) -> Result<Vec<T>, HsmError> {
        let mut answers = Vec::with_capacity(self.members().len());
        for token in self.members() {
            match ask(token) {
                Err(error) if is_absence(&error) => {}
                answer => answers.push(answer?),
            }
        }
        Ok(answers)
    }

    fn first_there<T>(
        &self,
        mut ask: impl FnMut(&Token) -> Result<T, HsmError>,
    ) -> Result<T, HsmError> {
        for token in self.members() {
            match ask(token) {
                Err(error) if is_absence(&error) => {}
                answer => return answer,
            }
        }
        Err(self.away())
    }

    fn differ(&self, uri: &Pkcs11Uri) -> HsmError {
        HsmError::GroupKeysDiffer {
            group: self.name().to_owned(),
            key: uri.to_string(),
        }
    }

    pub(crate) fn away(&self) -> HsmError {
        HsmError::GroupAway {
            group: self.name().to_owned(),
        }
    }
}

/// A member that does not answer now, in contrast to one that answers something wrong.
pub(crate) fn is_absence(error: &HsmError) -> bool {
    use crate::error::ErrorClass as E;
    !matches!(error, HsmError::TokenSelection { .. }) && error.class() != E::Configuration
}

impl Counters {
    pub(crate) fn failover(&self) {
        self.failovers.fetch_add(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group")
            .field("name", &self.0.name)
            .field("members", &self.0.members)
            .finish()
    }
}
