//! What runs around the gateway to try it: a PKI with good and bad certificates, an upstream that
//! echoes, and the demo that puts both beside a real gateway.

pub mod demo;
pub mod echo;
pub mod pki;
pub mod report;
