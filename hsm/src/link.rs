//! Where sessions come from: a module loaded in this process, or a signer process that has it loaded.
//!
//! Everything above (queues, deadlines, recovery, groups) is the same for both. A call into a session may
//! block, hang, or end the process it runs in; only session threads and probes make them.

pub(crate) mod local;

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

use crate::error::HsmError;
use crate::key::KeyInfo;
use crate::secret::{Generation, SecretInfo};
use crate::sign::{Family, Mechanism};
use crate::signer::remote;
use crate::slots::TokenInfo;
use crate::uri::Pkcs11Uri;
pub(crate) use local::spoils_session;

/// The way to a token.
pub(crate) enum Link {
    Local(local::Local),
    Signer(remote::Remote),
}

/// One session of a token. An error of it that is of PKCS#11 means that it must not be used again.
pub(crate) enum Session {
    Local(Box<local::Session>),
    Signer(remote::Session),
}

/// A key as every session, of whatever token, finds it: what its URI names and has this public half.
#[derive(Debug)]
pub(crate) struct KeyName {
    /// Tells this key from every other of the process; sessions keep handles by it.
    pub(crate) number: u64,
    pub(crate) uri: Pkcs11Uri,
    pub(crate) spki: Vec<u8>,
}

/// One signature, as a session makes it.
#[derive(Debug, Clone)]
pub(crate) struct SignRequest {
    pub(crate) key: Arc<KeyName>,
    pub(crate) mechanism: Mechanism,
    pub(crate) data: Vec<u8>,
}

/// A secret as every session, of whatever token, finds it: what its URI names and makes this check value.
#[derive(Debug)]
pub(crate) struct SecretName {
    /// Tells it from every key and secret of the process; sessions keep handles by it.
    pub(crate) number: u64,
    pub(crate) uri: Pkcs11Uri,
    pub(crate) check: [u8; 32],
}

/// One derivation, as a session makes it.
#[derive(Debug, Clone)]
pub(crate) struct DeriveRequest {
    pub(crate) secret: Arc<SecretName>,
    pub(crate) context: Vec<u8>,
}

/// What any session of any member makes, and makes again where the first failed: it changes nothing.
#[derive(Debug, Clone)]
pub(crate) enum Request {
    Sign(SignRequest),
    Derive(DeriveRequest),
}

/// A private key that was found by its URI.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FoundKey {
    pub(crate) info: KeyInfo,
    pub(crate) spki: Vec<u8>,
}

/// A secret that was found by its URI.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FoundSecret {
    pub(crate) info: SecretInfo,
    /// Equal secrets, and only those, have equal ones. It tells nothing of what is derived.
    pub(crate) check: [u8; 32],
}

/// What a token tells about itself (`C_GetTokenInfo`, `C_GetMechanismList`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Description {
    pub(crate) info: TokenInfo,
    pub(crate) families: Vec<Family>,
    /// `ulMaxSessionCount`, where the token has a limit and tells it.
    pub(crate) max_sessions: Option<u64>,
}

/// A number for a key or a secret: see [`KeyName::number`].
pub(crate) fn next_number() -> u64 {
    static NUMBERS: AtomicU64 = AtomicU64::new(0);
    NUMBERS.fetch_add(1, Ordering::Relaxed)
}

impl Link {
    /// Opens a session and logs in if nobody did. Blocks as long as the module does.
    pub(crate) fn open(&self) -> Result<Session, HsmError> {
        match self {
            Link::Local(local) => local
                .open()
                .map(|session| Session::Local(Box::new(session))),
            Link::Signer(remote) => remote.open().map(Session::Signer),
        }
    }

    /// Starts afresh: `C_Finalize` and `C_Initialize`, or another signer process. Sessions are lost.
    pub(crate) fn restart(&self) -> Result<(), HsmError> {
        match self {
            Link::Local(local) => local.restart(),
            Link::Signer(remote) => remote.restart(),
        }
    }

    /// The module in this process; there is none where a signer process has it.
    pub(crate) fn local(&self) -> Option<&local::Local> {
        match self {
            Link::Local(local) => Some(local),
            Link::Signer(_) => None,
        }
    }
}

impl Session {
    pub(crate) fn describe(&mut self) -> Result<Description, HsmError> {
        match self {
            Session::Local(session) => session.describe(),
            Session::Signer(session) => session.describe(),
        }
    }

    pub(crate) fn make(&mut self, request: &Request) -> Result<Vec<u8>, HsmError> {
        match request {
            Request::Sign(request) => self.sign(request),
            Request::Derive(request) => self.derive(request),
        }
    }

    pub(crate) fn sign(&mut self, request: &SignRequest) -> Result<Vec<u8>, HsmError> {
        match self {
            Session::Local(session) => session.sign(request),
            Session::Signer(session) => session.sign(request),
        }
    }

    pub(crate) fn derive(&mut self, request: &DeriveRequest) -> Result<Vec<u8>, HsmError> {
        match self {
            Session::Local(session) => session.derive(request),
            Session::Signer(session) => session.derive(request),
        }
    }

    pub(crate) fn find_secret(&mut self, uri: &Pkcs11Uri) -> Result<FoundSecret, HsmError> {
        match self {
            Session::Local(session) => session.find_secret(uri),
            Session::Signer(session) => session.find_secret(uri),
        }
    }

    /// The generation that is kept beside the secret `uri` names.
    pub(crate) fn generation(&mut self, uri: &Pkcs11Uri) -> Result<Generation, HsmError> {
        match self {
            Session::Local(session) => session.generation(uri),
            Session::Signer(session) => session.generation(uri),
        }
    }

    pub(crate) fn find(&mut self, uri: &Pkcs11Uri) -> Result<FoundKey, HsmError> {
        match self {
            Session::Local(session) => session.find(uri),
            Session::Signer(session) => session.find(uri),
        }
    }

    pub(crate) fn list(&mut self) -> Result<Vec<KeyInfo>, HsmError> {
        match self {
            Session::Local(session) => session.list(),
            Session::Signer(session) => session.list(),
        }
    }

    pub(crate) fn chain(
        &mut self,
        uri: &Pkcs11Uri,
    ) -> Result<Vec<CertificateDer<'static>>, HsmError> {
        match self {
            Session::Local(session) => session.chain(uri),
            Session::Signer(session) => session.chain(uri),
        }
    }

    /// What ends a call that hangs, where something can: the connection to a signer can be shut down.
    pub(crate) fn interrupt(&self) -> Option<Arc<UnixStream>> {
        match self {
            Session::Local(_) => None,
            Session::Signer(session) => Some(session.stream()),
        }
    }
}
