//! Relays: a thread for each direction that takes packets from one device and hands them to the other when they are due.

use std::collections::VecDeque;
use std::io;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::link::{Counters, Course, Fate, Link, MTU};
use super::tun::Tun;
use crate::process::run;

/// While packets flow, the relay sleeps for so long between two looks and then treats all that is due as one batch. A
/// packet is late by as much at most, and 17,000 packets a second cost less than a tenth of a core.
const TICK: Duration = Duration::from_micros(100);
/// The relay looks so often whether it should end.
const IDLE: Duration = Duration::from_millis(20);

/// A running relay; ended and awaited when dropped.
#[derive(Debug)]
pub(super) struct Relay {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    ends: AtomicBool,
    counters: Mutex<Counters>,
}

impl Relay {
    /// Starts one that carries what comes from `from` over `link` to `to`.
    pub(super) fn start(link: Link, from: Arc<Tun>, to: Arc<Tun>) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let work = Work {
            course: Course::new(link, Instant::now()),
            from,
            to,
            under_way: VecDeque::new(),
            spare: Vec::new(),
            shared: Arc::clone(&shared),
        };
        let thread = thread::Builder::new().name("relay".to_owned()).spawn(move || work.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// What happened up to now.
    pub(super) fn counters(&self) -> Counters {
        *self.shared.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(thread::panicking() || matches!(ended, Some(Ok(()))), "the relay held to the end");
    }
}

/// What the thread works with.
struct Work {
    course: Course,
    from: Arc<Tun>,
    to: Arc<Tun>,
    /// In the order in which they are due. What limits it is the link: its queue, and what its rate puts into its delay.
    under_way: VecDeque<Packet>,
    /// Buffers to use again.
    spare: Vec<Vec<u8>>,
    shared: Arc<Shared>,
}

struct Packet {
    due: Instant,
    bytes: Vec<u8>,
}

impl Work {
    fn run(mut self) {
        be_prompt();
        while !self.shared.ends.load(Ordering::Relaxed) {
            let now = Instant::now();
            let moved = self.take_in(now) + self.hand_out(now);
            if moved == 0 {
                self.wait(now);
                continue;
            }
            *self.shared.counters.lock().unwrap_or_else(PoisonError::into_inner) = self.course.counters();
            sleep(TICK);
        }
    }

    /// Reads all that is there; says how many packets.
    fn take_in(&mut self, now: Instant) -> usize {
        for count in 0.. {
            let mut bytes = self.spare.pop().unwrap_or_default();
            bytes.resize(usize::from(MTU), 0);
            let Some(length) = self.from.read(&mut bytes).expect("a device can be read") else {
                self.spare.push(bytes);
                return count;
            };
            bytes.truncate(length);
            match self.course.enter(now, length as u64) {
                Fate::Arrives(due) => self.under_way.push_back(Packet { due, bytes }),
                Fate::Lost => self.spare.push(bytes),
            }
        }
        unreachable!("a device runs dry");
    }

    /// Writes all that is due; says how many packets.
    fn hand_out(&mut self, now: Instant) -> usize {
        let mut count = 0;
        while let Some(packet) = self.under_way.pop_front_if(|packet| packet.due <= now) {
            self.to.write(&packet.bytes).expect("a device takes packets");
            self.course.on_delivered(packet.bytes.len() as u64, packet.due, now);
            self.spare.push(packet.bytes);
            count += 1;
        }
        count
    }

    /// Waits until a packet comes in or is due.
    fn wait(&self, now: Instant) {
        let next = self.under_way.front().map_or(IDLE, |packet| packet.due.saturating_duration_since(now).min(IDLE));
        let mut devices = [PollFd::new(&*self.from, PollFlags::IN)];
        match poll(&mut devices, Some(&timespec(next))) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("a device can be waited for: {error}"),
        }
    }
}

/// Puts this thread before all that is not real time, and lets its sleeps end when they should. Where the system refuses,
/// packets are late more often, which [`Counters::latest`] tells.
fn be_prompt() {
    /// The lowest of the real-time priorities comes before all others already.
    const PRIORITY: &str = "1";
    // The system would add 50 us to each sleep.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    // A nice value would only count among the processes of the same session.
    let thread = rustix::thread::gettid().as_raw_nonzero().to_string();
    let _ = run("chrt", &["--fifo", "--pid", PRIORITY, &thread]);
}

fn sleep(span: Duration) {
    // An interrupted sleep is only a short one.
    let _ = rustix::thread::nanosleep(&timespec(span));
}

fn timespec(span: Duration) -> Timespec {
    Timespec::try_from(span).expect("a short time")
}
