//! Portcullis: a TLS termination gateway whose private keys never leave an HSM.
//!
//! The rooms, in the order of a connection's life. `docs/ARCHITECTURE.md` has the floors; the layering test
//! keeps them.

pub mod cli;
pub mod server;

pub mod limit;
pub mod listener;

pub mod connection;
pub mod proxy_protocol;

pub mod certificates;
pub mod fleet;
pub mod jws;
pub mod rates;
pub mod revocation;
pub mod ticket_keys;
pub mod tls;
pub mod trust;

pub mod identity;
pub mod identity_fields;
pub mod path;
pub mod policy;
pub mod quic;
pub mod reason;
pub mod route;

pub mod http1;
pub mod patience;
pub mod proxy;
pub mod turns;

pub mod balance;
pub mod upstream;

pub mod snapshot;

pub mod explain;

pub mod admin;
pub mod drain;
pub mod telemetry;
