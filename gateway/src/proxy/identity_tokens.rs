//! Signed identities of one connection: one signature serves all requests to an upstream for a while.
//!
//! A token is used until half of its lifetime; then the next request has a new one signed, and those that come
//! meanwhile wait for that signature. While the key does not sign, the old token is sent until three quarters
//! of its lifetime; past that, and where there was none, the request is refused.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use http::HeaderValue;
use tokio::sync::Mutex;

use crate::identity::Identity;
use crate::identity_fields::claims::{Occasion, claims};
use crate::reason::Reason;
use crate::snapshot::IdentityTokens;

/// Audiences of one connection whose tokens are kept; more are signed for each request.
const MAX_SLOTS: usize = 64;

/// A request that cannot be told about.
#[derive(Debug)]
pub(super) struct Untold {
    pub(super) reason: Reason,
    pub(super) detail: String,
}

/// The tokens of a connection, one for each audience.
#[derive(Debug, Default)]
pub(super) struct TokenCache {
    slots: RefCell<Vec<(Box<str>, Rc<Slot>)>>,
}

#[derive(Debug, Default)]
struct Slot {
    /// Held while a token is signed, so that one signature serves whoever waits.
    current: Mutex<Option<Token>>,
    /// Counts tries that failed, so that those who waited for one do not all try again.
    failures: Cell<u64>,
}

#[derive(Debug, Clone)]
struct Token {
    value: HeaderValue,
    issued: i64,
    lifetime: i64,
}

impl TokenCache {
    /// The token for an identity, its site and an audience.
    pub(super) async fn token(
        &self,
        tokens: &IdentityTokens,
        (identity, site, audience): (&Identity, &str, &str),
    ) -> Result<HeaderValue, Untold> {
        let settings = &tokens.settings;
        let slot = self.slot(audience);
        let failures = slot.failures.get();
        let mut current = slot.current.lock().await;
        let occasion = Occasion {
            issuer: &settings.issuer,
            audience,
            site,
            now: unix_seconds(),
            lifetime: i64::try_from(settings.lifetime.as_secs()).unwrap_or(i64::MAX),
        };
        if let Some(token) = current
            .as_ref()
            .filter(|token| token.serves(occasion.now, 2))
        {
            return Ok(token.value.clone());
        }
        let signed = match slot.failures.get() == failures {
            true => sign(tokens, identity, &occasion).await.inspect_err(|_| {
                slot.failures.set(failures + 1); // Only what was tried counts.
            }),
            false => Err(Untold::not_signed("the try that was waited for failed")),
        };
        match signed {
            Ok(token) => {
                let value = token.value.clone();
                *current = Some(token);
                Ok(value)
            }
            Err(untold) => {
                match current
                    .as_ref()
                    .filter(|token| token.serves(unix_seconds(), 3))
                {
                    Some(old) => Ok(old.value.clone()),
                    None => Err(untold),
                }
            }
        }
    }

    fn slot(&self, audience: &str) -> Rc<Slot> {
        let mut slots = self.slots.borrow_mut();
        if let Some((_, slot)) = slots.iter().find(|(known, _)| **known == *audience) {
            return Rc::clone(slot);
        }
        let slot = Rc::<Slot>::default();
        if slots.len() < MAX_SLOTS {
            slots.push((audience.into(), Rc::clone(&slot)));
        }
        slot
    }
}

impl Token {
    /// Whether it is younger than so many quarters of its lifetime. A clock that was put back makes it too old.
    fn serves(&self, now: i64, quarters: i64) -> bool {
        let age = now - self.issued;
        (0..self.lifetime * quarters / 4).contains(&age)
    }
}

impl Untold {
    fn not_signed(detail: impl Into<String>) -> Self {
        Self {
            reason: Reason::IdentityNotSigned,
            detail: detail.into(),
        }
    }
}

async fn sign(
    tokens: &IdentityTokens,
    identity: &Identity,
    occasion: &Occasion<'_>,
) -> Result<Token, Untold> {
    let ended = || Untold {
        reason: Reason::ClientCertExpired,
        detail: "no identity is signed past the end of its certificate".to_owned(),
    };
    let claims = claims(identity, occasion).ok_or_else(ended)?;
    let expires = occasion.expires(identity).ok_or_else(ended)?;
    let text = tokens.signer.sign(&claims).await;
    let text = text.map_err(|error| Untold::not_signed(error.to_string()))?;
    let mut value = HeaderValue::try_from(text)
        .map_err(|_| Untold::not_signed("the token is no header value"))?;
    value.set_sensitive(true);
    Ok(Token {
        value,
        issued: occasion.now,
        lifetime: expires - occasion.now,
    })
}

fn unix_seconds() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_serves_for_its_quarters_and_never_from_the_future() {
        let token = Token {
            value: HeaderValue::from_static("a"),
            issued: 1000,
            lifetime: 60,
        };
        assert!(!token.serves(999, 2) && token.serves(1000, 2));
        assert!(token.serves(1029, 2) && !token.serves(1030, 2));
        assert!(token.serves(1044, 3) && !token.serves(1045, 3));
        // A certificate about to end: worth nothing already.
        let short = Token {
            lifetime: 1,
            ..token
        };
        assert!(!short.serves(1000, 2) && !short.serves(1000, 3));
    }
}
