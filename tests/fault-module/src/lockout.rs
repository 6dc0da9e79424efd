//! Wrong PINs, counted as a real token counts them: a few in a row and the PIN is locked.
//!
//! What it promises: what is locked stays locked until the process ends; the real token is not harmed by
//! a `login_error`, for it is not asked.

use std::sync::{Mutex, PoisonError};

use cryptoki_sys::{
    CK_FLAGS, CK_RV, CKF_USER_PIN_COUNT_LOW, CKF_USER_PIN_FINAL_TRY, CKF_USER_PIN_LOCKED, CKR_OK,
    CKR_PIN_INCORRECT, CKR_PIN_LOCKED,
};

static LOCKOUT: Mutex<Lockout> = Mutex::new(Lockout::new());

/// The tries of the user PIN.
struct Lockout {
    wrong: u64,
    locked: bool,
}

/// A login of the user by `ask`, unless the PIN is locked. `limit` is `lockout_after`.
pub(crate) fn login(limit: u64, ask: impl FnOnce() -> CK_RV) -> CK_RV {
    // Held while the token is asked: two wrong PINs at once are two.
    let mut lockout = LOCKOUT.lock().unwrap_or_else(PoisonError::into_inner);
    if lockout.locked {
        return CKR_PIN_LOCKED;
    }
    let result = ask();
    lockout.record(result, limit);
    result
}

/// The flags of `CK_TOKEN_INFO` that tell of the tries.
pub(crate) fn flags(limit: u64) -> CK_FLAGS {
    LOCKOUT
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .flags(limit)
}

impl Lockout {
    const fn new() -> Self {
        Lockout {
            wrong: 0,
            locked: false,
        }
    }

    /// Only a wrong PIN costs a try, and only a right one gives the tries back.
    fn record(&mut self, result: CK_RV, limit: u64) {
        match result {
            CKR_OK => self.wrong = 0,
            CKR_PIN_INCORRECT => self.wrong += 1,
            _ => return,
        }
        self.locked = limit > 0 && self.wrong >= limit;
    }

    fn flags(&self, limit: u64) -> CK_FLAGS {
        if self.locked {
            return CKF_USER_PIN_LOCKED;
        }
        let mut flags = 0;
        if limit > 0 && self.wrong > 0 {
            flags |= CKF_USER_PIN_COUNT_LOW;
        }
        if limit > 0 && self.wrong + 1 >= limit {
            flags |= CKF_USER_PIN_FINAL_TRY;
        }
        flags
    }
}

#[cfg(test)]
mod tests {
    use super::{
        CKF_USER_PIN_COUNT_LOW, CKF_USER_PIN_FINAL_TRY, CKF_USER_PIN_LOCKED, CKR_OK,
        CKR_PIN_INCORRECT, Lockout,
    };

    const DEVICE_ERROR: super::CK_RV = 0x30;

    #[test]
    fn three_wrong_pins_lock_for_ever_and_the_flags_warn_before() {
        let mut lockout = Lockout::new();
        assert_eq!(lockout.flags(3), 0);
        lockout.record(CKR_PIN_INCORRECT, 3);
        assert_eq!(lockout.flags(3), CKF_USER_PIN_COUNT_LOW);
        lockout.record(DEVICE_ERROR, 3);
        lockout.record(CKR_PIN_INCORRECT, 3);
        assert!(!lockout.locked);
        assert_eq!(
            lockout.flags(3),
            CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_FINAL_TRY
        );
        lockout.record(CKR_PIN_INCORRECT, 3);
        assert!(lockout.locked);
        // Whatever the settings say later.
        assert_eq!(lockout.flags(0), CKF_USER_PIN_LOCKED);
    }

    #[test]
    fn a_right_pin_gives_the_tries_back_and_without_a_limit_nothing_locks() {
        let mut lockout = Lockout::new();
        lockout.record(CKR_PIN_INCORRECT, 2);
        lockout.record(CKR_OK, 2);
        lockout.record(CKR_PIN_INCORRECT, 2);
        assert!(!lockout.locked);
        (0..100).for_each(|_| lockout.record(CKR_PIN_INCORRECT, 0));
        assert!(!lockout.locked);
        assert_eq!(lockout.flags(0), 0);
    }
}
