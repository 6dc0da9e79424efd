//! Sockets that accept clients.

pub mod tcp;
