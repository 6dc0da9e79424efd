//! Single checks and how they are told: what was looked at, how it stands, and why.

use portcullis_hsm::generate::{PinState, sign_every_scheme};
use portcullis_hsm::{Key, Provenance};
use rustls::SignatureScheme;
use serde_json::{Value, json};

use super::describe::flags;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// As it should be.
    Fine,
    /// Works, and somebody should know.
    Notice,
    /// Does not work.
    Failed,
}

/// The outcome of one check.
#[derive(Debug)]
pub(super) struct Finding {
    /// What was looked at.
    pub(super) what: String,
    /// How it stands.
    pub(super) standing: Standing,
    /// Details, or the reason.
    pub(super) detail: String,
}

impl Finding {
    pub(super) fn new(
        standing: Standing,
        what: impl Into<String>,
        detail: impl Into<String>,
    ) -> Self {
        Finding {
            what: what.into(),
            standing,
            detail: detail.into(),
        }
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "what": self.what,
            "standing": self.standing.word(),
            "detail": self.detail,
        })
    }

    pub(super) fn text(&self) -> String {
        format!(
            "{:<6} {}: {}\n",
            self.standing.word(),
            self.what,
            self.detail
        )
    }
}

impl Standing {
    fn word(self) -> &'static str {
        match self {
            Standing::Fine => "ok",
            Standing::Notice => "note",
            Standing::Failed => "FAIL",
        }
    }
}

/// The flags of the user PIN.
pub(super) fn pin(state: &PinState) -> Vec<Finding> {
    let failed = |flag, detail| Finding::new(Standing::Failed, flag, detail);
    let notice = |flag, detail| Finding::new(Standing::Notice, flag, detail);
    let mut findings = Vec::new();
    if !state.login_required {
        let detail = "the token wants no login: whoever reaches the module can sign";
        findings.push(notice("CKF_LOGIN_REQUIRED is not set", detail));
    } else if !state.initialized {
        let detail = "the user PIN is not set: the security officer must set it";
        findings.push(failed("CKF_USER_PIN_INITIALIZED is not set", detail));
    }
    if state.locked {
        let detail = "the user PIN is locked: the security officer must set it anew";
        findings.push(failed("CKF_USER_PIN_LOCKED", detail));
    }
    if state.final_try {
        let detail = "one more wrong PIN locks the token; log in once by hand with the right one";
        findings.push(failed("CKF_USER_PIN_FINAL_TRY", detail));
    }
    if state.count_low {
        let detail = "a wrong PIN was tried; log in once by hand with the right one, or the gateway will not";
        findings.push(failed("CKF_USER_PIN_COUNT_LOW", detail));
    }
    if state.to_be_changed {
        let detail = "the token wants another user PIN";
        findings.push(notice("CKF_USER_PIN_TO_BE_CHANGED", detail));
    }
    if state.protected_authentication_path {
        let detail = "the PIN is typed on the device: leave `pin` out of the configuration";
        findings.push(notice("CKF_PROTECTED_AUTHENTICATION_PATH", detail));
    }
    if findings.is_empty() {
        findings.push(Finding::new(
            Standing::Fine,
            "PIN flags",
            "set, not locked, no tries lost",
        ));
    }
    findings
}

/// Where the key comes from and whether it can leave.
pub(super) fn attributes(key: &Key) -> Finding {
    let info = key.info();
    let detail = format!(
        "{}, {} ({})",
        info.kind,
        info.provenance,
        flags(info).join(", ")
    );
    let standing = match info.provenance {
        Provenance::GeneratedInHsm => Standing::Fine,
        Provenance::Imported | Provenance::Extractable | Provenance::Software => Standing::Notice,
    };
    let advice = match info.provenance {
        Provenance::Extractable => "; the gateway refuses it unless `keys.extractable` names it",
        Provenance::Imported => "; it was once outside of this token",
        Provenance::GeneratedInHsm | Provenance::Software => "",
    };
    Finding::new(standing, "attributes", detail + advice)
}

/// Every scheme signed and verified, and whether TLS 1.3 can be served.
pub(super) fn schemes(key: &Key) -> (Vec<Finding>, bool) {
    let tried = sign_every_scheme(key);
    let ready = tried
        .iter()
        .any(|(scheme, result)| result.is_ok() && is_tls13(*scheme));
    let mut findings: Vec<_> = tried
        .iter()
        .map(|(scheme, result)| {
            let what = format!("{scheme:?}");
            match result {
                Ok(()) => Finding::new(Standing::Fine, what, "signed and verified"),
                Err(error) => Finding::new(Standing::Failed, what, error.to_string()),
            }
        })
        .collect();
    findings.push(if ready {
        Finding::new(Standing::Fine, "TLS 1.3 ready", "yes")
    } else if tried.iter().any(|(scheme, _)| is_tls13(*scheme)) {
        let detail = "no: no signature of TLS 1.3 verified";
        Finding::new(Standing::Failed, "TLS 1.3 ready", detail)
    } else {
        let detail = "no: the token has no mechanism for it (RSA keys need CKM_RSA_PKCS_PSS)";
        Finding::new(Standing::Failed, "TLS 1.3 ready", detail)
    });
    (findings, ready)
}

/// Whether a CertificateVerify of TLS 1.3 may have this scheme (RFC 8446 section 4.2.3).
fn is_tls13(scheme: SignatureScheme) -> bool {
    matches!(
        scheme,
        SignatureScheme::ECDSA_NISTP256_SHA256
            | SignatureScheme::ECDSA_NISTP384_SHA384
            | SignatureScheme::ECDSA_NISTP521_SHA512
            | SignatureScheme::RSA_PSS_SHA256
            | SignatureScheme::RSA_PSS_SHA384
            | SignatureScheme::RSA_PSS_SHA512
            | SignatureScheme::ED25519
    )
}

#[cfg(test)]
mod tests {
    use portcullis_hsm::generate::PinState;
    use rustls::SignatureScheme;

    use super::{Standing, is_tls13, pin};

    const GOOD: PinState = PinState {
        login_required: true,
        initialized: true,
        count_low: false,
        final_try: false,
        locked: false,
        to_be_changed: false,
        protected_authentication_path: false,
    };

    #[test]
    fn every_flag_that_stops_a_login_fails_the_check() {
        let fails = |state: PinState| {
            let findings = pin(&state);
            findings.iter().any(|f| f.standing == Standing::Failed)
        };
        assert!(fails(PinState {
            count_low: true,
            ..GOOD
        }));
        assert!(fails(PinState {
            final_try: true,
            ..GOOD
        }));
        assert!(fails(PinState {
            locked: true,
            ..GOOD
        }));
        assert!(fails(PinState {
            initialized: false,
            ..GOOD
        }));
        assert!(!fails(GOOD));
        let keypad = PinState {
            protected_authentication_path: true,
            ..GOOD
        };
        assert!(!fails(keypad) && pin(&keypad)[0].standing == Standing::Notice);
    }

    #[test]
    fn pkcs1_signatures_do_not_serve_tls13() {
        assert!(!is_tls13(SignatureScheme::RSA_PKCS1_SHA256));
        assert!(is_tls13(SignatureScheme::RSA_PSS_SHA256));
    }
}
