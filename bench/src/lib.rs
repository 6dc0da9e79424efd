//! What runs around the gateway to try it and to measure it: load and what it costs, reports of both,
//! a PKI with good and bad certificates, an upstream that echoes, and the demo that puts it together.

pub mod load;

pub mod cost;
pub mod report;

pub mod live;
pub mod origin;
pub mod peers;

pub mod command;

pub mod demo;
pub mod echo;
pub mod pki;
