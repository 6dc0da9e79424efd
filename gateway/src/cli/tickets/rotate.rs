//! `tickets rotate`: another key for the fleet.
//!
//! Where keys are derived in a token, their generation is raised there, here and now, in a session that may write: no
//! running gateway has one. In all other cases the running gateway does it.

use portcullis_config::{Config, Hsm, HsmRef, TicketKeySource, TokenSecret};
use portcullis_hsm::generate::{Raise, keep_generation, raise_generation};
use portcullis_hsm::{Generation, HsmError};
use serde_json::Value;

use crate::certificates::{open_alone, state_dir};
use crate::cli::hsm::of_hsm;
use crate::cli::socket::Socket;
use crate::cli::{Exit, complain, say};

/// Raises the generation where that is done in a token, and has the running gateway rotate.
pub(super) fn rotate(raise: Raise, socket: Socket) -> Exit {
    match raised(raise, &socket) {
        Ok(told) => {
            for line in &told {
                say(line);
            }
            if !told.is_empty() && !socket.is_known() {
                return say("running gateways look at it within seconds");
            }
        }
        Err(exit) => return exit,
    }
    let word = match raise {
        Raise::Rotate => "tickets rotate",
        Raise::Revoke => "tickets rotate --revoke",
    };
    match socket.call(word) {
        Ok(said) => say(said),
        Err(exit) => exit,
    }
}

/// What was raised; nothing where keys do not come from a token.
fn raised(raise: Raise, socket: &Socket) -> Result<Vec<String>, Exit> {
    // Who names a socket need not have the configuration, unless it says which token to open.
    if socket.is_named() {
        let status = socket.call("tickets status")?;
        let status: Value = serde_json::from_str(&status).unwrap_or_default();
        if status["source"] != "hsm" {
            return Ok(Vec::new());
        }
    }
    let config = socket.config()?;
    let TicketKeySource::Hsm(roots) = &config.tickets.keys else {
        return Ok(Vec::new());
    };
    // What is derived from an older root seals nothing: it has to be raised only where it is not to count.
    let roots = match raise {
        Raise::Rotate => &roots[..1],
        Raise::Revoke => &roots[..],
    };
    let mut told = Vec::new();
    for root in roots {
        let Generation { current, floor } = raise_root(&config, root, raise)?;
        told.push(format!(
            "{}: generation {current}, tickets open from generation {floor} on",
            root.uri.value
        ));
    }
    Ok(told)
}

/// Raises it in the first token that holds the root, and brings the others of its group up to that.
fn raise_root(config: &Config, root: &TokenSecret, raise: Raise) -> Result<Generation, Exit> {
    let members = match root.hsm {
        HsmRef::Token(at) => vec![at],
        HsmRef::Group(at) => config.hsm_groups[at].members.clone(),
    };
    let state_dir = state_dir(config.state_dir.as_deref());
    let mut tokens = Vec::new();
    // All of them first: a fleet whose tokens disagree gives out tickets that half of it declines.
    for hsm in members.iter().map(|at| &config.hsms[*at]) {
        if hsm.module().is_none() {
            let told = format_args!(
                "hsm {}: the token is behind a signer, which changes nothing in it: run this where a configuration \
                 names its `module`",
                hsm.name
            );
            return Err(complain(told, Exit::Config));
        }
        let token = open_alone(hsm, &state_dir).map_err(failed(hsm))?;
        tokens.push((hsm, token));
    }
    let mut kept = Generation::default();
    for (hsm, token) in &tokens {
        let found = token.generation(&root.uri.value);
        kept = kept.max(found.map_err(failed(hsm))?);
    }
    for (at, (hsm, token)) in tokens.iter().enumerate() {
        let raised = match at {
            0 => keep_generation(token, &root.uri.value, kept)
                .and_then(|_| raise_generation(token, &root.uri.value, raise)),
            _ => keep_generation(token, &root.uri.value, kept),
        };
        kept = raised.map_err(failed(hsm))?;
    }
    Ok(kept)
}

/// Tells what went wrong, and with which token.
fn failed(hsm: &Hsm) -> impl Fn(HsmError) -> Exit + '_ {
    |error| complain(format_args!("hsm {}: {error}", hsm.name), of_hsm(&error))
}
