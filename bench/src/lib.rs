//! What runs around the gateway to try it and to measure it: load and what it costs, reports of both,
//! a PKI with good and bad certificates, an upstream that echoes, the demo that puts it together, and what
//! counts the gateway's instructions.

pub mod load;

pub mod cost;
pub mod report;

pub mod live;
pub mod origin;
pub mod peers;

pub mod command;

pub mod count;
pub mod demo;
pub mod echo;
pub mod pki;
