//! What the program is to be told. Each thing waits in the queue at most once.

use std::collections::VecDeque;

use super::StreamEvent;
use super::table::{Stream, Table};

/// Events that wait. At most two and three for each stream.
#[derive(Debug, Default)]
pub(super) struct Events {
    queue: VecDeque<StreamEvent>,
    opened: bool,
    may_open: bool,
}

/// What the program of one direction of a stream waits for, and whether it is told already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Wake {
    /// The program found it blocked.
    pub(super) wanted: bool,
    /// An event is in the queue.
    queued: bool,
}

impl Events {
    /// The other side opened a stream.
    pub(super) fn opened(&mut self) {
        if !std::mem::replace(&mut self.opened, true) {
            self.queue.push_back(StreamEvent::Opened);
        }
    }

    /// A stream may be opened again.
    pub(super) fn may_open(&mut self) {
        if !std::mem::replace(&mut self.may_open, true) {
            self.queue.push_back(StreamEvent::MayOpen);
        }
    }

    /// Reading would give something: tells those who wait.
    pub(super) fn readable(&mut self, stream: &mut Stream) {
        if stream.reading.fire() {
            self.queue.push_back(StreamEvent::Readable(stream.id));
        }
    }

    /// Writing would do something: tells those who wait.
    pub(super) fn writable(&mut self, stream: &mut Stream) {
        if stream.writing.fire() {
            self.queue.push_back(StreamEvent::Writable(stream.id));
        }
    }

    /// All of it is acknowledged, which happens once.
    pub(super) fn finished(&mut self, stream: &Stream) {
        self.queue.push_back(StreamEvent::Finished(stream.id));
    }

    /// The next one.
    pub(super) fn pop(&mut self, table: &mut Table) -> Option<StreamEvent> {
        let event = self.queue.pop_front()?;
        match event {
            StreamEvent::Opened => self.opened = false,
            StreamEvent::MayOpen => self.may_open = false,
            StreamEvent::Readable(id) => {
                if let Some(stream) = table.get_mut(id) {
                    stream.reading.queued = false;
                }
            }
            StreamEvent::Writable(id) => {
                if let Some(stream) = table.get_mut(id) {
                    stream.writing.queued = false;
                }
            }
            StreamEvent::Finished(_) => {}
        }
        Some(event)
    }
}

impl Wake {
    /// Whether an event is to be queued now.
    fn fire(&mut self) -> bool {
        let wanted = std::mem::take(&mut self.wanted);
        wanted && !std::mem::replace(&mut self.queued, true)
    }
}
