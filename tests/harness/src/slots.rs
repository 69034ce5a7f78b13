//! Slots: how many clusters run at once. Each is several busy processes, and what is timed wants the machine for
//! itself.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

static IN_USE: Mutex<InUse> = Mutex::new(InUse { shared: 0, alone: false, waiting_alone: 0 });
static FREED: Condvar = Condvar::new();

#[derive(Debug)]
struct InUse {
    shared: usize,
    alone: bool,
    waiting_alone: usize,
}

/// With whom a cluster shares the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Company {
    /// With as many others as there are cores.
    Shared,
    /// With no other: for what is timed.
    Alone,
}

/// The right to run a cluster; given back when dropped.
#[derive(Debug)]
pub struct Slot {
    company: Company,
}

impl Slot {
    /// Waits for one.
    pub fn take(company: Company) -> Self {
        let mut in_use = lock();
        match company {
            Company::Shared => {
                let most = thread::available_parallelism().map_or(2, |cores| cores.get().max(2));
                // Those who want to be alone go first: they would starve otherwise.
                while in_use.alone || in_use.waiting_alone > 0 || in_use.shared >= most {
                    in_use = FREED.wait(in_use).unwrap_or_else(PoisonError::into_inner);
                }
                in_use.shared += 1;
            }
            Company::Alone => {
                in_use.waiting_alone += 1;
                while in_use.alone || in_use.shared > 0 {
                    in_use = FREED.wait(in_use).unwrap_or_else(PoisonError::into_inner);
                }
                in_use.waiting_alone -= 1;
                in_use.alone = true;
            }
        }
        Self { company }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut in_use = lock();
        match self.company {
            Company::Shared => in_use.shared -= 1,
            Company::Alone => in_use.alone = false,
        }
        FREED.notify_all();
    }
}

fn lock() -> MutexGuard<'static, InUse> {
    // A test that failed while it held the lock has left numbers that are still right.
    IN_USE.lock().unwrap_or_else(PoisonError::into_inner)
}
