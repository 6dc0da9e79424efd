//! The settings file: `key = value` lines, `#` begins a comment.

use std::time::Duration;

use cryptoki_sys::{CK_RV, CKR_DEVICE_ERROR};

/// Which faults `C_Sign` has. Every key may be left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `delay_us`: each signature takes this much longer.
    pub delay: Duration,
    /// `engines`: how many signatures the token makes at once; the others wait. 0 is no limit.
    pub engines: usize,
    /// `hang_every`: every Nth signature hangs. 0 is never, and lets those that hang go on.
    pub hang_every: u64,
    /// `hang_ms`: how long it hangs, an hour by default.
    pub hang: Duration,
    /// `error_every`: every Nth signature fails. 0 is never.
    pub error_every: u64,
    /// `error_code`: what it returns, decimal or `0x…`; `CKR_DEVICE_ERROR` by default.
    pub error_code: CK_RV,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            delay: Duration::ZERO,
            engines: 0,
            hang_every: 0,
            hang: Duration::from_secs(3600),
            error_every: 0,
            error_code: CKR_DEVICE_ERROR,
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
            let wrong = || format!("line {} is not understood: {line}", number + 1);
            let (key, value) = line.split_once('=').ok_or_else(wrong)?;
            let value = read(value.trim()).ok_or_else(wrong)?;
            match key.trim() {
                "delay_us" => settings.delay = Duration::from_micros(value),
                "engines" => settings.engines = usize::try_from(value).map_err(|_| wrong())?,
                "hang_every" => settings.hang_every = value,
                "hang_ms" => settings.hang = Duration::from_millis(value),
                "error_every" => settings.error_every = value,
                "error_code" => {
                    settings.error_code = CK_RV::try_from(value).map_err(|_| wrong())?
                }
                _ => return Err(wrong()),
            }
        }
        Ok(settings)
    }
}

fn read(number: &str) -> Option<u64> {
    match number.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => number.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Settings;

    #[test]
    fn lines_are_read_and_misspelt_ones_refused() {
        let text = "# slow\ndelay_us = 5000\nengines=4 # cores\n\nerror_code = 0x31\n";
        let expected = Settings {
            delay: Duration::from_millis(5),
            engines: 4,
            error_code: 0x31,
            ..Settings::default()
        };
        assert_eq!(Settings::parse(text), Ok(expected));
        for wrong in [
            "delay = 1",
            "engines",
            "hang_every = often",
            "error_code = -1",
        ] {
            assert!(Settings::parse(wrong).is_err(), "{wrong}");
        }
    }
}
