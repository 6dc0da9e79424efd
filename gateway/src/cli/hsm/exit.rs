//! Exit codes, decided in one place from what went wrong.

use std::fmt;

use portcullis_hsm::HsmError;

use crate::cli::Exit;

/// What is wrong with a command rather than with a token.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The arguments do not say what to do.
    Usage(String),
    /// What is named does not exist, or is not alone.
    Selection(String),
}

/// The exit code of a command that failed.
pub(super) fn of(error: &anyhow::Error) -> Exit {
    if let Some(refusal) = error.downcast_ref() {
        return match refusal {
            Refusal::Usage(_) => Exit::Usage,
            Refusal::Selection(_) => Exit::Config,
        };
    }
    error.downcast_ref().map_or(Exit::Failed, of_hsm)
}

/// The exit code of an error of a token.
pub(in crate::cli) fn of_hsm(error: &HsmError) -> Exit {
    match error {
        HsmError::Uri(_) => Exit::Usage,
        HsmError::TokenSelection { .. }
        | HsmError::KeySelection { .. }
        | HsmError::ObjectSelection { .. } => Exit::Config,
        HsmError::CertificateMismatch { .. } | HsmError::ProofFailed { .. } => Exit::Live,
        HsmError::PinUnreadable { .. }
        | HsmError::PinMissing { .. }
        | HsmError::PinWrong { .. }
        | HsmError::PinTriesLow { .. }
        | HsmError::PinUnusable { .. } => Exit::Pin,
        // `C_InitToken` and `C_InitPIN` say so when a PIN is too short, too long or not the one set before.
        HsmError::Call { .. } if error.to_string().contains("CKR_PIN_") => Exit::Pin,
        _ => Exit::Failed,
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Usage(text) | Refusal::Selection(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use anyhow::Context;
    use portcullis_hsm::HsmError;

    use super::{Refusal, of};
    use crate::cli::Exit;

    #[test]
    fn each_kind_of_failure_has_its_code() {
        let token = || "edge".to_owned();
        let wanted = Box::default();
        let candidates = Vec::new();
        for (error, exit) in [
            (HsmError::PinMissing { token: token() }, Exit::Pin),
            (HsmError::PinUnusable { token: token() }, Exit::Pin),
            (HsmError::KeySelection { wanted, candidates }, Exit::Config),
            (HsmError::ProofFailed { key: token() }, Exit::Live),
            (HsmError::Deadline { token: token() }, Exit::Failed),
        ] {
            let error = Err::<(), _>(error).context("while trying");
            assert_eq!(of(&error.expect_err("an error")), exit);
        }
        let usage = anyhow::Error::from(Refusal::Usage("so not".to_owned()));
        assert_eq!(of(&usage), Exit::Usage);
        assert_eq!(of(&anyhow::anyhow!("the disk is full")), Exit::Failed);
    }
}
