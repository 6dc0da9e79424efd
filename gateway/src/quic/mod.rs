//! QUIC: datagrams on one side, the streams of HTTP/3 on the other.
//!
//! Every connection has a `quinn_proto::Endpoint` of its own. It moves into the step that signs and back, so that a
//! token that takes its time holds up nobody but the client that waits for it. What connections share is small:
//! a socket, and the table that says which connection a datagram is for.

mod arrival;
mod connection;
mod crypto;
mod guard;
mod keys;
mod link;
mod routes;
mod socket;
mod streams;

pub use arrival::{Arrival, Stray};
pub use connection::{Settings, accept};
pub use keys::Keys;
pub use link::{Link, Lost, StreamLost};
pub use routes::{Datagram, Destination, Inbox, Place, Routes, destination};
pub use socket::{Buffers, Socket, bind};
pub use streams::{Bidi, Receive, Send, Streams};
