//! Whether the token is there, and which of its sessions are dead.
//!
//! What it promises: a session that died stays dead until it is closed, and its number is alive again
//! only when the real module hands it out for a new session.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cryptoki_sys::{
    CK_RV, CK_SESSION_HANDLE, CKR_DEVICE_REMOVED, CKR_OK, CKR_SESSION_HANDLE_INVALID,
    CKR_TOKEN_NOT_PRESENT,
};

use crate::settings::Settings;

static STATE: Mutex<State> = Mutex::new(State::new());

/// What is known of the token.
struct State {
    presence: Presence,
    /// `dead_sessions` as it was last seen.
    deaths: u64,
    alive: BTreeSet<CK_SESSION_HANDLE>,
    dead: BTreeSet<CK_SESSION_HANDLE>,
    /// The sessions died, and with the last session of a token goes the login (PKCS#11 section 5.6). The
    /// real module, whose sessions live on, is told so when the next is opened.
    login: Login,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Login {
    AsItIs,
    Lost,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    Present,
    Gone(Return),
    /// Plugged in again, but the module does not see it before `C_Initialize`.
    AwaitsInitialize,
}

/// What makes a token that is gone come back, once the settings let it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Return {
    AtOnce,
    Initialize,
}

/// Called with each new content of the settings file.
pub(crate) fn settings_changed(settings: &Settings) {
    state().settings_changed(settings);
}

/// What a call that needs the token alone returns, if the token is gone.
pub(crate) fn refusal() -> Option<CK_RV> {
    (state().presence != Presence::Present).then_some(CKR_TOKEN_NOT_PRESENT)
}

/// What a call with this session returns, if the token is gone or the session is dead.
pub(crate) fn session_refusal(session: CK_SESSION_HANDLE) -> Option<CK_RV> {
    state().session_refusal(session)
}

/// Opens a session with `open`; `log_out` is called on it if the login was lost.
pub(crate) fn open(
    open: impl FnOnce() -> (CK_RV, CK_SESSION_HANDLE),
    log_out: impl FnOnce(CK_SESSION_HANDLE),
) -> CK_RV {
    // The lock is held over both, or the login of a thread that opened meanwhile would be lost as well.
    static LOGGING_OUT: Mutex<()> = Mutex::new(());
    let alone = (state().login == Login::Lost).then(|| lock(&LOGGING_OUT));
    let (result, session) = open();
    if result != CKR_OK {
        return result;
    }
    if alone.is_some() && state().opened_after_loss() {
        log_out(session);
    }
    state().opened(session);
    result
}

/// A session is about to be closed. Before, for its number may be another session's right after.
pub(crate) fn closing(session: CK_SESSION_HANDLE) {
    let mut state = state();
    state.alive.remove(&session);
    state.dead.remove(&session);
}

/// `C_Finalize` returned: there are no sessions and there is no login.
pub(crate) fn finalized() {
    let mut state = state();
    state.alive.clear();
    state.dead.clear();
    state.login = Login::AsItIs;
}

/// `C_Initialize` returned `CKR_OK`.
pub(crate) fn initialized() {
    let mut state = state();
    if state.presence == Presence::AwaitsInitialize {
        state.presence = Presence::Present;
    }
}

impl State {
    const fn new() -> Self {
        State {
            presence: Presence::Present,
            deaths: 0,
            alive: BTreeSet::new(),
            dead: BTreeSet::new(),
            login: Login::AsItIs,
        }
    }

    fn settings_changed(&mut self, settings: &Settings) {
        let wanted = if settings.needs_initialize {
            Return::Initialize
        } else {
            Return::AtOnce
        };
        let next = match (self.presence, settings.token_gone) {
            (_, true) => Presence::Gone(wanted),
            // Either of the two contents may have asked for it.
            (Presence::Gone(Return::Initialize), false) => Presence::AwaitsInitialize,
            (Presence::Gone(_), false) if wanted == Return::Initialize => {
                Presence::AwaitsInitialize
            }
            (Presence::Gone(_), false) => Presence::Present,
            (same, false) => same,
        };
        let went = settings.token_gone && !matches!(self.presence, Presence::Gone(_));
        let died = settings.dead_sessions != self.deaths && settings.dead_sessions != 0;
        if went || died {
            self.dead.append(&mut self.alive);
            self.login = Login::Lost;
        }
        self.deaths = settings.dead_sessions;
        self.presence = next;
    }

    fn session_refusal(&self, session: CK_SESSION_HANDLE) -> Option<CK_RV> {
        if self.presence != Presence::Present {
            return Some(CKR_DEVICE_REMOVED);
        }
        self.dead
            .contains(&session)
            .then_some(CKR_SESSION_HANDLE_INVALID)
    }

    fn opened(&mut self, session: CK_SESSION_HANDLE) {
        self.dead.remove(&session);
        self.alive.insert(session);
    }

    /// Whether the session that was opened is the first since the login was lost.
    fn opened_after_loss(&mut self) -> bool {
        let lost = self.login == Login::Lost;
        self.login = Login::AsItIs;
        lost
    }
}

fn state() -> MutexGuard<'static, State> {
    lock(&STATE)
}

/// A panic while a lock was held leaves nothing half-done: there is none in this file.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::{CKR_DEVICE_REMOVED, CKR_SESSION_HANDLE_INVALID, Presence, Settings, State};

    fn change(state: &mut State, text: &str) {
        state.settings_changed(&Settings::parse(text).unwrap());
    }

    #[test]
    fn sessions_that_were_open_die_and_later_ones_live() {
        let mut state = State::new();
        state.opened(1);
        change(&mut state, "dead_sessions = 1");
        state.opened(2);
        assert_eq!(state.session_refusal(1), Some(CKR_SESSION_HANDLE_INVALID));
        assert_eq!(state.session_refusal(2), None);
        assert!(state.opened_after_loss() && !state.opened_after_loss());
        // The same number kills no more, nor does 0; another does.
        change(&mut state, "dead_sessions = 1\ndelay_us = 5");
        change(&mut state, "");
        assert_eq!(state.session_refusal(2), None);
        change(&mut state, "dead_sessions = 2");
        assert_eq!(state.session_refusal(2), Some(CKR_SESSION_HANDLE_INVALID));
        // The real module hands the number out again.
        state.opened(1);
        assert_eq!(state.session_refusal(1), None);
    }

    #[test]
    fn a_token_that_comes_back_has_lost_its_sessions() {
        let mut state = State::new();
        state.opened(1);
        change(&mut state, "token_gone = 1");
        assert_eq!(state.session_refusal(1), Some(CKR_DEVICE_REMOVED));
        change(&mut state, "");
        assert_eq!(state.session_refusal(1), Some(CKR_SESSION_HANDLE_INVALID));
        state.opened(2);
        assert_eq!(state.session_refusal(2), None);
    }

    #[test]
    fn a_token_that_needs_it_comes_back_after_initialize_only() {
        for back in ["", "needs_initialize = 1"] {
            let mut state = State::new();
            change(&mut state, "token_gone = 1\nneeds_initialize = 1");
            change(&mut state, back);
            assert_eq!(state.presence, Presence::AwaitsInitialize);
            change(&mut state, "delay_us = 1");
            assert_eq!(state.presence, Presence::AwaitsInitialize);
        }
    }
}
