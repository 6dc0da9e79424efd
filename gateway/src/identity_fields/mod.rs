//! What is said about a client in header fields: `X-Forwarded-Client-Cert`, `Client-Cert` of RFC 9440, and the
//! claims of a signed token.
//!
//! Plain functions of an identity and its certificates. Whatever a certificate holds, a value that is made
//! here is printable ASCII and reads back as what was put in; nothing in a name can add a part.

pub mod claims;
pub mod client_cert;
pub mod xfcc;
