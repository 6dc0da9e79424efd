//! The word that it is time to leave, heard by every connection of a worker.

use tokio::sync::watch;

/// Says "drain" once; cheap to clone.
#[derive(Debug, Clone)]
pub struct Drain(watch::Sender<bool>);

/// Hears it.
#[derive(Debug, Clone)]
pub struct Draining(watch::Receiver<bool>);

impl Drain {
    /// A signal that was not given yet, and an ear for it.
    pub fn new() -> (Self, Draining) {
        let (sender, receiver) = watch::channel(false);
        (Self(sender), Draining(receiver))
    }

    /// Gives the signal. Giving it again changes nothing.
    pub fn start(&self) {
        self.0.send_replace(true);
    }
}

impl Draining {
    /// Whether the signal was given.
    pub fn is_draining(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits for the signal. A worker that went away counts as the signal.
    pub async fn started(&mut self) {
        let _ = self.0.wait_for(|draining| *draining).await; // An error means that the sender is gone.
    }
}
