//! Liveness: when a peer is to be asked whether it is there, and when it is gone.
//!
//! A machine without clock or socket. [`Liveness::poll`] says what to do at a time; it is called whenever the time it
//! gave is reached, and after [`Liveness::on_pong`]:
//!
//! ```text
//!             interval over            pong of this number
//!   Resting ----------------> Asked ------------------------> Resting
//!                               | timeout over
//!                               v
//!                              gone
//! ```

use std::time::Duration;

/// What is to be done at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// Send a ping of this number.
    Ping(u64),
    /// Nothing before this time.
    Nothing {
        /// When to ask again.
        until: Duration,
    },
    /// The peer is gone.
    Gone,
}

/// Of one connection. Times are uptimes of the tracker.
#[derive(Debug)]
pub(crate) struct Liveness {
    interval: Duration,
    timeout: Duration,
    /// The number of the last ping.
    number: u64,
    phase: Phase,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    Resting { until: Duration },
    Asked { until: Duration },
}

impl Liveness {
    /// The peer was there just now.
    pub(crate) fn new(interval: Duration, timeout: Duration, now: Duration) -> Self {
        Self { interval, timeout, number: 0, phase: Phase::Resting { until: now + interval } }
    }

    /// What is to be done now. A ping that is given counts as sent.
    pub(crate) fn poll(&mut self, now: Duration) -> Due {
        match self.phase {
            Phase::Resting { until } if now >= until => {
                self.number += 1;
                self.phase = Phase::Asked { until: now + self.timeout };
                Due::Ping(self.number)
            }
            Phase::Asked { until } if now >= until => Due::Gone,
            Phase::Resting { until } | Phase::Asked { until } => Due::Nothing { until },
        }
    }

    /// The peer answered a ping. Answers to other pings than the last say nothing.
    pub(crate) fn on_pong(&mut self, number: u64, now: Duration) {
        if let Phase::Asked { .. } = self.phase
            && number == self.number
        {
            self.phase = Phase::Resting { until: now + self.interval };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_peer_that_answers_is_asked_again_and_again() {
        let mut liveness = Liveness::new(secs(20), secs(10), secs(100));
        assert_eq!(liveness.poll(secs(100)), Due::Nothing { until: secs(120) });
        for round in 1..100 {
            let now = secs(100 + round * 25);
            assert_eq!(liveness.poll(now - secs(5)), Due::Ping(round));
            assert_eq!(liveness.poll(now), Due::Nothing { until: now + secs(5) });
            liveness.on_pong(round, now);
            assert_eq!(liveness.poll(now), Due::Nothing { until: now + secs(20) });
        }
    }

    #[test]
    fn a_peer_that_does_not_answer_is_gone_after_interval_and_timeout() {
        let mut liveness = Liveness::new(secs(20), secs(10), secs(0));
        assert_eq!(liveness.poll(secs(20)), Due::Ping(1));
        assert_eq!(liveness.poll(secs(29)), Due::Nothing { until: secs(30) });
        assert_eq!(liveness.poll(secs(30)), Due::Gone);
    }

    #[test]
    fn only_the_answer_to_the_last_ping_counts() {
        let mut liveness = Liveness::new(secs(20), secs(10), secs(0));
        liveness.on_pong(1, secs(1));
        assert_eq!(liveness.poll(secs(20)), Due::Ping(1));
        for wrong in [0, 2, u64::MAX] {
            liveness.on_pong(wrong, secs(21));
        }
        assert_eq!(liveness.poll(secs(30)), Due::Gone);
    }
}
