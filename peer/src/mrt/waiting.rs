//! Waiting, and ending the wait of others.

use std::task::Waker;

use tokio::sync::Notify;

/// Calls all wakers.
pub(super) fn wake(wakers: &mut Vec<Waker>) {
    wakers.drain(..).for_each(Waker::wake);
}

/// Waits until `check` gives something; it is asked again each time `signal` is given.
pub(super) async fn until<T>(signal: &Notify, mut check: impl FnMut() -> Option<T>) -> T {
    loop {
        let mut told = std::pin::pin!(signal.notified());
        // From here on no signal is missed, and only then is it worth looking.
        told.as_mut().enable();
        if let Some(value) = check() {
            return value;
        }
        told.await;
    }
}
