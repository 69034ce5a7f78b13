//! Gates: a connection announces to the index through its gate. When the gate is closed the peer's locations can be
//! taken out for good: no announcement of that connection comes afterwards.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// One connection's way to the index.
#[derive(Debug)]
pub(crate) struct Gate {
    open: Mutex<bool>,
}

impl Gate {
    /// Does `what` if the gate is open and stays so meanwhile. The index locks within: it never comes back here, so two
    /// locks at once cannot wait for each other.
    pub(crate) fn pass<T>(&self, what: impl FnOnce() -> T) -> Option<T> {
        let open = self.lock();
        open.then(what)
    }

    /// Closes it, once nobody is passing.
    pub(crate) fn close(&self) {
        *self.lock() = false;
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        // A panic while passing leaves a bool as it was.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Gate {
    /// Open.
    fn default() -> Self {
        Self { open: Mutex::new(true) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_passes_a_closed_gate() {
        let gate = Gate::default();
        assert_eq!(gate.pass(|| 1), Some(1));
        gate.close();
        assert_eq!(gate.pass(|| 1), None);
    }
}
