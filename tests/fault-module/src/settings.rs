//! The settings file: `key = value` lines, `#` begins a comment.
//!
//! What it promises: a line that is not understood is an error with its number, never a fault less.

use std::time::Duration;

use cryptoki_sys::{CK_RV, CKR_DEVICE_ERROR};

/// A whole, in the unit of [`Settings::error_millionths`].
pub const MILLION: u64 = 1_000_000;

/// Which faults happen. Every key may be left out; what is left out does not happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `delay_us`: each signature takes this much longer.
    pub delay: Duration,
    /// `jitter_us`: and at random up to this much longer still.
    pub jitter: Duration,
    /// `engines`: how many signatures the token makes at once; the others wait. 0 is no limit.
    pub engines: usize,
    /// `charge_length_query`: asking for the length of a signature costs an engine and the delay too, as
    /// it does on a network HSM.
    pub charge_length_query: bool,
    /// `hang_every`: every Nth signature hangs. 0 is never, and lets those that hang go on.
    pub hang_every: u64,
    /// `hang_ms`: how long it hangs, an hour by default.
    pub hang: Duration,
    /// `crash_every`: every Nth signature aborts the process. 0 is never.
    pub crash_every: u64,
    /// `error_every`: every Nth call fails. 0 is never.
    pub error_every: u64,
    /// `error_percent`: each call fails with this probability, here in millionths. It may be a fraction.
    pub error_millionths: u64,
    /// `error_code`: what a call that fails returns, decimal or `0x…`; `CKR_DEVICE_ERROR` by default.
    pub error_code: CK_RV,
    /// `error_in`: which calls fail, signatures by default.
    pub error_in: ErrorIn,
    /// `dead_sessions`: when this number changes to another than 0, all open sessions die, and with them
    /// the login.
    pub dead_sessions: u64,
    /// `token_gone`: the token is not there, and its sessions are dead.
    pub token_gone: bool,
    /// `needs_initialize`: a token that went comes back only after `C_Finalize` and `C_Initialize`.
    pub needs_initialize: bool,
    /// `login_error`: a login of the user returns this and the real module is not asked. 0 is no error.
    pub login_error: CK_RV,
    /// `lockout_after`: after so many wrong PINs in a row the PIN is locked. 0 is never.
    pub lockout_after: u64,
}

/// Which function the errors strike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorIn {
    /// `sign`: `C_Sign`.
    Sign,
    /// `sign_init`: `C_SignInit`.
    SignInit,
    /// `open_session`: `C_OpenSession`.
    OpenSession,
    /// `login`: `C_Login` of the user.
    Login,
    /// `find`: `C_FindObjectsInit`.
    Find,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            engines: 0,
            charge_length_query: false,
            hang_every: 0,
            hang: Duration::from_secs(3600),
            crash_every: 0,
            error_every: 0,
            error_millionths: 0,
            error_code: CKR_DEVICE_ERROR,
            error_in: ErrorIn::Sign,
            dead_sessions: 0,
            token_gone: false,
            needs_initialize: false,
            login_error: 0,
            lockout_after: 0,
        }
    }
}

impl Settings {
    /// Reads the text of a settings file.
    ///
    /// # Errors
    /// Names the line that is not understood: a rehearsal with a misspelt fault rehearses nothing.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut settings = Settings::default();
        for (number, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let read = line
                .split_once('=')
                .and_then(|(key, value)| settings.set(key.trim(), value.trim()));
            read.ok_or_else(|| format!("line {} is not understood: {line}", number + 1))?;
        }
        Ok(settings)
    }

    /// What a call of `function` returns instead of asking the real module, if it is to fail. `number` is
    /// that of the call, from 1; `roll` is drawn evenly from `0..MILLION`.
    pub fn error(&self, function: ErrorIn, number: u64, roll: u64) -> Option<CK_RV> {
        let strikes = every(self.error_every, number) || roll < self.error_millionths;
        (self.error_in == function && strikes).then_some(self.error_code)
    }

    /// `None` where key or value is not understood.
    fn set(&mut self, key: &str, value: &str) -> Option<()> {
        match key {
            "delay_us" => self.delay = Duration::from_micros(number(value)?),
            "jitter_us" => self.jitter = Duration::from_micros(number(value)?),
            "engines" => self.engines = usize::try_from(number(value)?).ok()?,
            "charge_length_query" => self.charge_length_query = switch(value)?,
            "hang_every" => self.hang_every = number(value)?,
            "hang_ms" => self.hang = Duration::from_millis(number(value)?),
            "crash_every" => self.crash_every = number(value)?,
            "error_every" => self.error_every = number(value)?,
            "error_percent" => self.error_millionths = percent(value)?,
            "error_code" => self.error_code = code(value)?,
            "error_in" => self.error_in = ErrorIn::parse(value)?,
            "dead_sessions" => self.dead_sessions = number(value)?,
            "token_gone" => self.token_gone = switch(value)?,
            "needs_initialize" => self.needs_initialize = switch(value)?,
            "login_error" => self.login_error = code(value)?,
            "lockout_after" => self.lockout_after = number(value)?,
            _ => return None,
        }
        Some(())
    }
}

impl ErrorIn {
    fn parse(word: &str) -> Option<Self> {
        match word {
            "sign" => Some(ErrorIn::Sign),
            "sign_init" => Some(ErrorIn::SignInit),
            "open_session" => Some(ErrorIn::OpenSession),
            "login" => Some(ErrorIn::Login),
            "find" => Some(ErrorIn::Find),
            _ => None,
        }
    }
}

/// Whether the call of this number is one of every `n`.
pub(crate) fn every(n: u64, number: u64) -> bool {
    n > 0 && number.is_multiple_of(n)
}

fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

fn code(text: &str) -> Option<CK_RV> {
    CK_RV::try_from(number(text)?).ok()
}

fn switch(text: &str) -> Option<bool> {
    match text {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    }
}

/// From percent, `0` to `100` with or without a fraction, to millionths.
fn percent(text: &str) -> Option<u64> {
    let percent: f64 = text.parse().ok()?;
    (0.0..=100.0)
        .contains(&percent)
        .then(|| (percent * 10_000.0).round() as u64)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{ErrorIn, MILLION, Settings};

    #[test]
    fn lines_that_are_not_understood_are_named() {
        for wrong in [
            "delay = 1",
            "engines",
            "hang_every = often",
            "error_code = -1",
            "error_percent = 101",
            "error_percent = -1",
            "error_percent = NaN",
            "error_in = verify",
            "error_in = \"sign\"",
            "token_gone = 2",
            "charge_length_query = yes",
        ] {
            let error =
                Settings::parse(&format!("# faults\n\n{wrong} # wrong\n")).expect_err(wrong);
            assert_eq!(error, format!("line 3 is not understood: {wrong}"));
        }
    }

    #[test]
    fn every_key_is_read() {
        let text = "# slow\ndelay_us = 5000\njitter_us=700\nengines=4 # cores\n\ncharge_length_query = 1\n\
            hang_every = 60\nhang_ms = 1500\ncrash_every = 9\nerror_every = 7\nerror_percent = 0.5\n\
            error_code = 0x31\nerror_in = open_session\ndead_sessions = 2\ntoken_gone = 1\n\
            needs_initialize = 1\nlogin_error = 0xA0\nlockout_after = 3\n";
        let expected = Settings {
            delay: Duration::from_millis(5),
            jitter: Duration::from_micros(700),
            engines: 4,
            charge_length_query: true,
            hang_every: 60,
            hang: Duration::from_millis(1500),
            crash_every: 9,
            error_every: 7,
            error_millionths: 5_000,
            error_code: 0x31,
            error_in: ErrorIn::OpenSession,
            dead_sessions: 2,
            token_gone: true,
            needs_initialize: true,
            login_error: 0xA0,
            lockout_after: 3,
        };
        assert_eq!(Settings::parse(text), Ok(expected));
        assert_eq!(Settings::parse(""), Ok(Settings::default()));
        for (word, function) in [
            ("sign", ErrorIn::Sign),
            ("sign_init", ErrorIn::SignInit),
            ("login", ErrorIn::Login),
            ("find", ErrorIn::Find),
        ] {
            let settings = Settings::parse(&format!("error_in = {word}")).unwrap();
            assert_eq!(settings.error_in, function);
        }
    }

    #[test]
    fn errors_strike_their_function_alone_by_number_or_by_chance() {
        let settings = Settings::parse("error_every = 3\nerror_in = find\nerror_code = 5").unwrap();
        let struck: Vec<_> = (1..=7)
            .filter(|number| settings.error(ErrorIn::Find, *number, 0) == Some(5))
            .collect();
        assert_eq!(struck, [3, 6]);
        assert_eq!(settings.error(ErrorIn::Sign, 3, 0), None);

        let half = Settings::parse("error_percent = 0.5\nerror_code = 5").unwrap();
        let struck = (0..MILLION).filter(|roll| half.error(ErrorIn::Sign, 1, *roll).is_some());
        assert_eq!(struck.count(), 5_000);
        assert_eq!(half.error(ErrorIn::SignInit, 1, 0), None);
        let always = Settings::parse("error_percent = 100").unwrap();
        assert!(always.error(ErrorIn::Sign, 1, MILLION - 1).is_some());
        assert_eq!(Settings::default().error(ErrorIn::Sign, 1, 0), None);
    }
}
