//! Who holds a key: a token, or the tokens of a group; and how often a signature is asked for (and what is
//! derived: all that is said of signatures holds for it).
//!
//! One deadline covers a signature, whatever it takes. A single token is asked once more when the first try
//! failed for a reason that may pass. In a group the member with the least to do is asked; when it fails, one
//! other is; and with hedging another is asked already while the first takes its time.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use crate::error::{ErrorClass, HsmError};
use crate::group::Group;
use crate::link::{FoundKey, FoundSecret, Request};
use crate::sessions::{Canary, Pending, TokenState};
use crate::sign::Family;
use crate::timer::Sleep;
use crate::token::Token;
use crate::uri::Pkcs11Uri;

/// A token or a group.
#[derive(Debug, Clone)]
pub(crate) enum Holder {
    Token(Token),
    Group(Group),
}

impl Holder {
    /// Makes a signature, or derives, as the token returns it, before the deadline.
    pub(crate) async fn make(&self, request: Request) -> Result<Vec<u8>, HsmError> {
        match self {
            Holder::Token(token) => by_token(token, request).await,
            Holder::Group(group) => by_group(group, request).await,
        }
    }

    /// The key that `uri` names. Blocks.
    pub(crate) fn find(&self, uri: &Pkcs11Uri) -> Result<FoundKey, HsmError> {
        match self {
            Holder::Token(token) => token.find(uri),
            Holder::Group(group) => group.find(uri),
        }
    }

    /// The secret that `uri` names. Blocks.
    pub(crate) fn find_secret(&self, uri: &Pkcs11Uri) -> Result<FoundSecret, HsmError> {
        match self {
            Holder::Token(token) => token.find_secret(uri),
            Holder::Group(group) => group.find_secret(uri),
        }
    }

    /// The token, or the tokens of the group.
    pub(crate) fn tokens(&self) -> &[Token] {
        match self {
            Holder::Token(token) => std::slice::from_ref(token),
            Holder::Group(group) => group.members(),
        }
    }

    /// Whether all tokens that are known have the mechanism (`C_GetMechanismList`).
    pub(crate) fn has(&self, family: Family) -> bool {
        self.lacking(family).is_none()
    }

    /// A token that is known not to have the mechanism.
    pub(crate) fn lacking(&self, family: Family) -> Option<&Token> {
        let lacks = |token: &&Token| token.has(family) == Some(false);
        self.tokens().iter().find(lacks)
    }

    pub(crate) fn set_canary(&self, canary: Canary) {
        for token in self.tokens() {
            token.pool().set_canary(canary.clone());
        }
    }

    /// Whether a signature that is asked for now has a chance; else why not.
    pub(crate) fn admit(&self) -> Result<(), HsmError> {
        match self {
            Holder::Token(token) => token.pool().admit(),
            Holder::Group(group) => {
                let mut refused = Ok(());
                for token in group.members() {
                    match token.pool().admit() {
                        Ok(()) => return Ok(()),
                        // That one member is full says more than that another is away.
                        Err(error @ HsmError::QueueFull { .. }) => refused = Err(error),
                        Err(error) => refused = refused.and(Err(error)),
                    }
                }
                refused
            }
        }
    }
}

async fn by_token(token: &Token, request: Request) -> Result<Vec<u8>, HsmError> {
    let due = Instant::now() + token.settings().deadline;
    let first = match token.pool().make(request.clone(), Some(due)) {
        Ok(pending) => pending.await,
        Err(error) => Err(error),
    };
    match first {
        Err(error) if may_pass(&error) && Instant::now() < due => {
            token.pool().make(request, Some(due))?.await
        }
        outcome => outcome,
    }
}

/// Failures of one try that say nothing about the next one on the same token.
fn may_pass(error: &HsmError) -> bool {
    match error {
        HsmError::Hung { .. } => true,
        HsmError::QueueFull { .. }
        | HsmError::Deadline { .. }
        | HsmError::Away { .. }
        | HsmError::Closed { .. } => false,
        other => other.class() != ErrorClass::Configuration,
    }
}

async fn by_group(group: &Group, request: Request) -> Result<Vec<u8>, HsmError> {
    let mut members = by_preference(group.members()).into_iter();
    let first = members.next().ok_or_else(|| HsmError::GroupAway {
        group: group.name().to_owned(),
    })?;
    let due = Instant::now() + first.settings().deadline;
    let mut other = || {
        let second = members.next()?;
        group.counters().failover();
        Some(second.pool().make(request.clone(), Some(due)))
    };
    let pending = match first.pool().make(request.clone(), Some(due)) {
        Ok(pending) => pending,
        Err(error) => return other().unwrap_or(Err(error))?.await,
    };
    match race(pending, group.hedge(), &mut other).await {
        Err(error) if !matches!(error, HsmError::Deadline { .. }) => match other() {
            Some(pending) if Instant::now() < due => pending?.await,
            _ => Err(error),
        },
        outcome => outcome,
    }
}

/// Members that work before those that may soon, those with less to do first; those that are away last, for
/// they refuse at once.
fn by_preference(members: &[Token]) -> Vec<&Token> {
    let mut order: Vec<_> = members
        .iter()
        .map(|token| {
            let rank = match token.health().state {
                TokenState::Up => 0,
                TokenState::Recovering => 1,
                TokenState::Away | TokenState::Refused => 2,
            };
            ((rank, token.pool().outstanding()), token)
        })
        .collect();
    order.sort_by_key(|(key, _)| *key);
    order.into_iter().map(|(_, token)| token).collect()
}

/// Waits for `first`; if it takes longer than `hedge`, for whichever of it and `other` succeeds first. The
/// one that is not needed any more is dropped, which tells its token not to begin.
async fn race(
    first: Pending,
    hedge: Option<Duration>,
    other: &mut impl FnMut() -> Option<Result<Pending, HsmError>>,
) -> Result<Vec<u8>, HsmError> {
    let Some(hedge) = hedge else {
        return first.await;
    };
    let mut running = vec![first];
    let mut sleep = Some(Sleep::until(Instant::now() + hedge));
    let mut last = None;
    poll_fn(move |cx| {
        if let Some(timer) = &mut sleep
            && Pin::new(timer).poll(cx).is_ready()
        {
            sleep = None;
            if let Some(Ok(second)) = other() {
                running.push(second);
            }
        }
        let mut at = 0;
        while at < running.len() {
            match Pin::new(&mut running[at]).poll(cx) {
                Poll::Ready(Ok(signature)) => return Poll::Ready(Ok(signature)),
                Poll::Ready(Err(error)) => {
                    running.remove(at);
                    last = Some(error);
                }
                Poll::Pending => at += 1,
            }
        }
        match last.take() {
            Some(error) if running.is_empty() => Poll::Ready(Err(error)),
            kept => {
                last = kept;
                Poll::Pending
            }
        }
    })
    .await
}
