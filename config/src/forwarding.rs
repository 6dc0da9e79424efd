//! `[forwarding]`: what goes to upstreams with a request.
mod jwt;
mod xfcc;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::Located;
use crate::check::{Check, Names};
use crate::hsm_ref::Tokens;
use crate::upstream::Signed;
use crate::value::quoted;

use self::jwt::RawJwt;
use self::xfcc::RawXfcc;

pub use self::jwt::IdentityJwt;
pub use self::xfcc::{Xfcc, XfccDetail, XfccMode};

/// `[forwarding]`: what upstreams are told about the client.
#[derive(Debug, Clone)]
pub struct Forwarding {
    /// Peers whose `Forwarded`, `X-Forwarded-*` and request ids are kept and appended to. Default none.
    pub trusted_hops: Vec<IpNet>,
    /// What becomes of `X-Forwarded-Client-Cert`. Default: ours alone.
    pub xfcc: Xfcc,
    /// How identities are signed, for the upstreams that want it. Default not at all.
    pub jwt: Option<IdentityJwt>,
    /// Send `X-Forwarded-For`, `-Proto`, `-Host`. Default true.
    pub x_forwarded: bool,
    /// Send `Forwarded` (RFC 7239). Default true.
    pub forwarded: bool,
}

/// An address block, `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpNet {
    /// Network address, host bits zero.
    pub address: IpAddr,
    /// Prefix length.
    pub prefix: u8,
}

impl IpNet {
    /// Whether `ip` lies in this block. IPv4-mapped IPv6 addresses count as IPv4.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.address, ip.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                let mask = u32::MAX
                    .checked_shl(32 - u32::from(self.prefix))
                    .unwrap_or(0);
                u32::from(net) == u32::from(ip) & mask
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                let mask = u128::MAX
                    .checked_shl(128 - u32::from(self.prefix))
                    .unwrap_or(0);
                u128::from(net) == u128::from(ip) & mask
            }
            _ => false,
        }
    }
}

/// `[forwarding]` as written.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawForwarding {
    /// Address blocks of proxies in front of the gateway whose `Forwarded` and `X-Forwarded-*` are kept.
    trusted_hops: Option<Vec<Located<String>>>,
    /// What becomes of `X-Forwarded-Client-Cert`.
    xfcc: Option<Located<RawXfcc>>,
    /// The identity of a client as a signed token (JWT), for the upstreams that want it.
    jwt: Option<Located<RawJwt>>,
    /// Send `X-Forwarded-For`, `-Proto` and `-Host`.
    x_forwarded: Option<bool>,
    /// Send `Forwarded` (RFC 7239).
    forwarded: Option<bool>,
}

impl RawForwarding {
    /// Whether identities are signed, for the check of upstreams.
    pub(crate) fn signed(&self) -> Signed {
        match self.jwt {
            Some(_) => Signed::Here,
            None => Signed::Never,
        }
    }

    pub(crate) fn check(
        self,
        check: &mut Check<'_>,
        roles: &Names,
        tokens: &Tokens<'_>,
    ) -> Forwarding {
        let hops = self.trusted_hops.unwrap_or_default();
        let hops = hops.iter().filter_map(|text| address_block(check, text));
        let trusted_hops = hops.collect();
        Forwarding {
            trusted_hops,
            xfcc: self.xfcc.map_or_else(Xfcc::default, |raw| {
                raw.value.check(check, &raw.span, roles)
            }),
            jwt: self
                .jwt
                .and_then(|raw| raw.value.check(check, &raw.span, tokens)),
            x_forwarded: self.x_forwarded.unwrap_or(true),
            forwarded: self.forwarded.unwrap_or(true),
        }
    }
}

/// An address block of a list; reports one that is none.
pub(crate) fn address_block(check: &mut Check<'_>, text: &Located<String>) -> Option<IpNet> {
    match parse_net(&text.value) {
        Ok(net) => Some(net),
        Err(problem) => {
            let message = format!("{} is no address block: {problem}", quoted(&text.value));
            check.error(&text.span, message);
            None
        }
    }
}

/// Reads `10.0.0.0/8`, or one address.
pub(crate) fn parse_net(text: &str) -> Result<IpNet, String> {
    const SHAPE: &str = "write \"10.0.0.0/8\", \"2001:db8::/32\" or one address";
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| SHAPE)?;
    if address != address.to_canonical() {
        return Err("write an IPv4-mapped address as IPv4".to_owned());
    }
    let bits: u8 = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        None => bits,
        Some(digits) => digits
            .parse()
            .ok()
            .filter(|prefix| *prefix <= bits)
            .ok_or(SHAPE)?,
    };
    let network: IpAddr = match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(u32::from(32 - prefix)).unwrap_or(0);
            Ipv4Addr::from(u32::from(v4) & mask).into()
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(u32::from(128 - prefix)).unwrap_or(0);
            Ipv6Addr::from(u128::from(v6) & mask).into()
        }
    };
    if network != address {
        return Err(format!(
            "it is longer than its prefix; the block is \"{network}/{prefix}\""
        ));
    }
    Ok(IpNet { address, prefix })
}
