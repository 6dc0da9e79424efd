//! Whether a client's certificate is believed: chains, the checks of a bundle, revocation, the deny list.
//!
//! A [`Demand`] is what a site or a route asks of its clients; it is made of [`Bundle`]s that are alternatives.
//! What a bundle has verified is a [`Proof`], and only this room can make one. A proof can be looked at again
//! later for a fraction of the price: everything that may have changed since is asked anew (validity, revocation,
//! the deny list, the anchors, the bundle's settings), the signatures are not.

mod account;
mod bundle;
mod chain;
mod checks;
mod constraints;
mod demand;
mod deny;
mod known;
mod links;
mod proof;
mod recall;
mod revoked;
mod walk;

pub use account::{Account, Outcome};
pub use bundle::{Bundle, BundleError};
pub use checks::{CHECKS, Check};
pub use demand::{Accounted, Demand, Met, Shown};
pub use deny::{DenyEntry, DenyError, DenyKind, DenyList};
pub use proof::{Note, Proof};
pub use recall::Forgotten;

pub use crate::revocation::Refused;
