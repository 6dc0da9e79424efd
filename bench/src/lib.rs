//! What runs around the gateway to try it: a PKI with good and bad certificates, an upstream that
//! echoes, the demo that puts both beside a real gateway, and what counts its instructions.

pub mod count;
pub mod demo;
pub mod echo;
pub mod pki;
