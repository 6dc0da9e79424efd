//! One connection that many streams share, opened by the first that needs it and anew when it ended.

use std::cell::{Cell, RefCell};

use tokio::sync::Mutex;

use super::failure::Failure;

/// The connection, and the number it is known by.
#[derive(Debug)]
pub(super) struct Shared<C> {
    open: RefCell<Option<(u64, C)>>,
    /// So that one stream opens it while the others wait.
    opening: Mutex<()>,
    number: Cell<u64>,
}

impl<C> Default for Shared<C> {
    fn default() -> Self {
        Self {
            open: RefCell::default(),
            opening: Mutex::default(),
            number: Cell::default(),
        }
    }
}

impl<C: Clone> Shared<C> {
    /// A handle of the connection, which `connect` opens where it is not.
    pub(super) async fn get(
        &self,
        connect: impl AsyncFnOnce() -> Result<C, Failure>,
    ) -> Result<(u64, C), Failure> {
        if let Some(open) = &*self.open.borrow() {
            return Ok(open.clone());
        }
        let _opening = self.opening.lock().await;
        if let Some(open) = &*self.open.borrow() {
            return Ok(open.clone());
        }
        let number = self.number.get() + 1;
        self.number.set(number);
        let open = (number, connect().await?);
        *self.open.borrow_mut() = Some(open.clone());
        Ok(open)
    }

    /// Only the connection that failed: another stream may have opened a fresh one.
    pub(super) fn forget(&self, number: u64) {
        self.open.borrow_mut().take_if(|(open, _)| *open == number);
    }
}
