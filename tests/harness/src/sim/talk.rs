//! Talks: a plan as it is carried out over one connection. It writes, reads, checks every byte, and keeps count of what
//! was written and not read: while there is such, something must arrive before long.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use common::mrt::{
    CloseCode, CloseReason, Connection, ConnectionEvent, Read, ReadError, Side, StreamEvent, StreamId, WriteError,
};

use super::plan::{Close, End, Half, Pace, Plan};
use super::progress::Progress;
use super::wires::Socket;
use crate::content::Content;

/// The number with which programs give streams up, and with which they stop them.
const RESET_CODE: u64 = 71;
const STOP_CODE: u64 = 72;

/// What a program closes its connection with.
pub const CLOSE_CODE: CloseCode = CloseCode(CloseCode::APPLICATION.0 + 7);

/// Most bytes that are read or written in one call.
const CALL: usize = 32 << 10;

/// Bytes of a word of [`Content`].
const WORD: usize = 8;

/// Bytes that hold those of a call, and what comes before them in the same word.
const SCRATCH: usize = CALL + WORD;

/// A connection between two nodes, and what is said over it.
#[derive(Debug)]
pub(super) struct Talk {
    pub(super) plan: Plan,
    /// Where the sides are: the initiator's socket and the responder's.
    pub(super) sockets: [Socket; 2],
    pub(super) progress: Progress,
    /// For each side when it stood, and how it ended.
    pub(super) connected: [Option<Instant>; 2],
    pub(super) closed: [Option<CloseReason>; 2],
    pub(super) fault: Option<String>,
    /// As in the plan: who opened it, and which of his it is.
    streams: [Vec<Stream>; 2],
    /// How many each side opened, and how many of the other's it knows of.
    opened: [usize; 2],
    accepted: [usize; 2],
    /// What each side does by itself, and when.
    agendas: [BinaryHeap<Reverse<(Instant, Task)>>; 2],
    /// Ends of halves that are not reached.
    left: usize,
    call: Vec<u8>,
    wanted: Vec<u8>,
}

/// Something that a program does by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Task {
    Open,
    Write(StreamId),
    Read(StreamId),
    Close,
}

/// The two directions of a stream: the initiator's and the responder's.
type Stream = [Direction; 2];

#[derive(Debug)]
struct Direction {
    half: Half,
    seed: u64,
    written: u64,
    read: u64,
    writer: Writer,
    /// Whether the reader wants more.
    is_reading: bool,
    /// Bytes until the next pause, and when the last one ends.
    write_piece: (u64, Option<Instant>),
    read_piece: (u64, Option<Instant>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writer {
    Writing,
    /// The end is declared.
    Ended,
    /// It is acknowledged, or given up.
    Done,
}

pub(super) const fn index(side: Side) -> usize {
    match side {
        Side::Initiator => 0,
        Side::Responder => 1,
    }
}

impl Talk {
    pub(super) fn new(now: Instant, plan: Plan, sockets: [Socket; 2], seed: u64) -> Self {
        let mut number = seed;
        let mut directions = |halves: [Half; 2]| {
            halves.map(|half| {
                number = number.wrapping_add(1);
                Direction::new(half, number)
            })
        };
        let streams = [
            plan.streams[0].iter().map(|stream| directions([stream.there, stream.back])).collect::<Vec<_>>(),
            plan.streams[1].iter().map(|stream| directions([stream.back, stream.there])).collect::<Vec<_>>(),
        ];
        // Both directions of a stream, and both ends of each.
        let left = (streams[0].len() + streams[1].len()) * 4;
        Self {
            plan,
            sockets,
            progress: Progress::new(now),
            connected: [None; 2],
            closed: [None, None],
            fault: None,
            streams,
            opened: [0; 2],
            accepted: [0; 2],
            agendas: [BinaryHeap::new(), BinaryHeap::new()],
            left,
            call: vec![0; SCRATCH],
            wanted: vec![0; SCRATCH],
        }
    }

    /// Whether all has been said and heard.
    pub(super) const fn is_done(&self) -> bool {
        self.left == 0
    }

    /// When a side wants to act by itself.
    pub(super) fn next(&self, side: Side) -> Option<Instant> {
        self.agendas[index(side)].peek().map(|Reverse((at, _))| *at)
    }

    /// Something happened to the connection of `side`, which is not there any more when it is closed.
    pub(super) fn on_event(
        &mut self,
        now: Instant,
        side: Side,
        event: ConnectionEvent,
        connection: Option<&mut Connection>,
    ) {
        match (event, connection) {
            (ConnectionEvent::Closed(reason), _) => self.on_closed(now, side, reason),
            (_, None) => self.fail(format!("{side:?}: an event of a connection that is gone")),
            (ConnectionEvent::Connected, Some(connection)) => self.on_connected(now, side, connection),
            (ConnectionEvent::Stream(event), Some(connection)) => self.on_stream_event(now, side, event, connection),
            _ => {}
        }
    }

    /// Does what is due.
    pub(super) fn act(&mut self, now: Instant, side: Side, connection: &mut Connection) {
        while let Some(Reverse((at, task))) = self.agendas[index(side)].peek().copied() {
            if at > now {
                break;
            }
            self.agendas[index(side)].pop();
            match task {
                Task::Open => self.open(now, side, connection),
                Task::Write(id) => self.write(now, side, id, connection),
                Task::Read(id) => self.read(now, side, id, connection),
                Task::Close => connection.close(now, CLOSE_CODE, "as planned"),
            }
        }
        if self.is_done() && self.plan.close == Close::WhenDone(side) && self.closed[index(side)].is_none() {
            connection.close(now, CLOSE_CODE, "all is said");
        }
    }

    fn fail(&mut self, fault: String) {
        self.fault.get_or_insert(fault);
    }

    fn on_connected(&mut self, now: Instant, side: Side, connection: &mut Connection) {
        if self.connected[index(side)].replace(now).is_some() {
            self.fail(format!("{side:?}: connected twice"));
        }
        if connection.side() != side {
            self.fail(format!("{side:?}: takes itself for the other side"));
        }
        let agenda = &mut self.agendas[index(side)];
        agenda.extend(self.plan.streams[index(side)].iter().map(|stream| Reverse((now + stream.after, Task::Open))));
        match self.plan.close {
            Close::After(after, by) if by == side => agenda.push(Reverse((now + after, Task::Close))),
            _ => {}
        }
        self.act(now, side, connection);
    }

    fn on_closed(&mut self, now: Instant, side: Side, reason: CloseReason) {
        if self.closed[index(side)].replace(reason).is_some() {
            self.fail(format!("{side:?}: closed twice"));
        }
        self.agendas[index(side)].clear();
        self.progress.end(now);
    }

    fn on_stream_event(&mut self, now: Instant, side: Side, event: StreamEvent, connection: &mut Connection) {
        match event {
            StreamEvent::Opened => self.accept(now, side, connection),
            StreamEvent::Readable(id) => self.read(now, side, id, connection),
            StreamEvent::Writable(id) => self.write(now, side, id, connection),
            StreamEvent::MayOpen => self.open(now, side, connection),
            StreamEvent::Finished(id) => {
                let Some(direction) = self.direction(id, side) else { return };
                if direction.writer == Writer::Ended {
                    direction.writer = Writer::Done;
                    self.left -= 1;
                } else if direction.writer == Writer::Writing {
                    self.fail(format!("{side:?}: {id:?} is finished and was not ended"));
                }
            }
        }
    }

    /// The direction of a stream that `writer` writes.
    fn direction(&mut self, id: StreamId, writer: Side) -> Option<&mut Direction> {
        let number = usize::try_from(id.0 / 2).expect("streams are few");
        let direction = self.streams[usize::from(id.0 % 2 == 1)].get_mut(number).map(|both| &mut both[index(writer)]);
        if direction.is_none() {
            self.fault.get_or_insert_with(|| format!("{id:?} was never planned"));
        }
        direction
    }

    /// Opens as many streams as it is time for.
    fn open(&mut self, now: Instant, side: Side, connection: &mut Connection) {
        let Some(connected) = self.connected[index(side)] else { return };
        loop {
            let number = self.opened[index(side)];
            let planned = self.plan.streams[index(side)].get(number);
            if planned.is_none_or(|planned| connected + planned.after > now) {
                return;
            }
            let Some(id) = connection.open() else { return };
            let expected = StreamId(number as u64 * 2 + index(side) as u64);
            if id != expected {
                self.fail(format!("{side:?}: opened {id:?} instead of {expected:?}"));
            }
            self.opened[index(side)] += 1;
            self.write(now, side, id, connection);
            self.read(now, side, id, connection);
        }
    }

    fn accept(&mut self, now: Instant, side: Side, connection: &mut Connection) {
        while let Some(id) = connection.accept() {
            let expected = StreamId(self.accepted[index(side)] as u64 * 2 + index(other(side)) as u64);
            if id != expected {
                self.fail(format!("{side:?}: accepted {id:?} instead of {expected:?}"));
            }
            self.accepted[index(side)] += 1;
            self.read(now, side, id, connection);
            self.write(now, side, id, connection);
        }
    }

    fn write(&mut self, now: Instant, side: Side, id: StreamId, connection: &mut Connection) {
        let mut call = std::mem::take(&mut self.call);
        while let Some(direction) = self.direction(id, side) {
            if direction.writer == Writer::Done || direction.write_piece.1.is_some_and(|until| until > now) {
                break;
            }
            let left = direction.half.most_written() - direction.written;
            if left == 0 || direction.writer == Writer::Ended {
                self.end(now, side, id, connection);
                break;
            }
            let piece = usize::try_from(left.min(direction.write_piece.0)).map_or(CALL, |piece| piece.min(CALL));
            let bytes = content(direction.seed, direction.written, piece, &mut call);
            match connection.write(id, bytes) {
                Ok(taken) => {
                    direction.written += taken as u64;
                    let is_unread = direction.is_reading;
                    let pause = direction.half.write.count(&mut direction.write_piece, taken, now);
                    if is_unread {
                        self.progress.on_written(now, taken as u64);
                    }
                    if let Some(until) = pause {
                        self.agendas[index(side)].push(Reverse((until, Task::Write(id))));
                    } else if taken < piece {
                        break;
                    }
                }
                Err(error) => {
                    self.on_write_error(side, id, error);
                    break;
                }
            }
        }
        self.call = call;
    }

    /// Ends a direction of which everything is written, or asks what became of its end.
    fn end(&mut self, now: Instant, side: Side, id: StreamId, connection: &mut Connection) {
        let Some(direction) = self.direction(id, side) else { return };
        if direction.writer == Writer::Ended {
            // The reader may have stopped it since; then it may be forgotten already.
            if let (Err(error), End::Stop(_)) = (connection.write(id, &[]), direction.half.end) {
                self.on_write_error(side, id, error);
            }
            return;
        }
        let is_unread = direction.is_reading;
        if matches!(direction.half.end, End::Reset(_)) {
            direction.writer = Writer::Done;
            self.left -= 1;
            connection.reset(id, RESET_CODE);
        } else {
            direction.writer = Writer::Ended;
            if let Err(error) = connection.finish(id) {
                self.on_write_error(side, id, error);
            }
        }
        if is_unread {
            self.progress.on_written(now, 1);
        }
    }

    fn on_write_error(&mut self, side: Side, id: StreamId, error: WriteError) {
        let Some(direction) = self.direction(id, side) else { return };
        // A stream that was stopped while nobody wrote may be forgotten already.
        let is_stop = matches!(error, WriteError::Stopped(STOP_CODE) | WriteError::Closed);
        let is_planned = is_stop && matches!(direction.half.end, End::Stop(_));
        direction.writer = Writer::Done;
        self.left -= 1;
        if !is_planned {
            self.fail(format!("{side:?}: writing to {id:?}: {error}"));
        }
    }

    fn read(&mut self, now: Instant, side: Side, id: StreamId, connection: &mut Connection) {
        let (mut call, mut wanted) = (std::mem::take(&mut self.call), std::mem::take(&mut self.wanted));
        while let Some(direction) = self.direction(id, other(side)) {
            if !direction.is_reading || direction.read_piece.1.is_some_and(|until| until > now) {
                break;
            }
            let mut most = direction.read_piece.0;
            if let End::Stop(after) = direction.half.end {
                most = most.min(after - direction.read);
                if most == 0 {
                    connection.stop(id, STOP_CODE);
                    self.stop_reading(now, side, id);
                    break;
                }
            }
            let most = usize::try_from(most).map_or(CALL, |most| most.min(CALL));
            match connection.read(id, &mut call[..most]) {
                Ok(Read::Bytes(count)) => {
                    let is_right = content(direction.seed, direction.read, count, &mut wanted) == &call[..count];
                    direction.read += count as u64;
                    let (end, written) = (direction.read, direction.written);
                    let pause = direction.half.read.count(&mut direction.read_piece, count, now);
                    self.progress.on_read(now, other(side), count as u64);
                    if !is_right || end > written {
                        self.fail(format!("{side:?}: {id:?} has other bytes than were sent before offset {end}"));
                    }
                    if let Some(until) = pause {
                        self.agendas[index(side)].push(Reverse((until, Task::Read(id))));
                    }
                }
                Ok(Read::Blocked) => break,
                ended => {
                    self.on_end(side, id, ended);
                    self.stop_reading(now, side, id);
                    break;
                }
            }
        }
        (self.call, self.wanted) = (call, wanted);
    }

    /// Checks that a stream ended where and as it was to end.
    fn on_end(&mut self, side: Side, id: StreamId, ended: Result<Read, ReadError>) {
        let Some(direction) = self.direction(id, other(side)) else { return };
        let is_right = match (ended, direction.half.end) {
            (Ok(Read::End), End::Finish | End::Stop(_)) => direction.read == direction.half.size,
            (Err(ReadError::Reset(code)), End::Reset(_)) => code == RESET_CODE,
            _ => false,
        };
        if !is_right {
            let (read, half) = (direction.read, direction.half);
            self.fail(format!("{side:?}: {id:?} ended with {ended:?} after {read} bytes, planned is {half:?}"));
        }
    }

    /// Nothing more is read of this stream.
    fn stop_reading(&mut self, now: Instant, side: Side, id: StreamId) {
        let Some(direction) = self.direction(id, other(side)) else { return };
        direction.is_reading = false;
        // An end counts as one byte.
        let unread = direction.written - direction.read + u64::from(direction.writer != Writer::Writing);
        self.left -= 1;
        self.progress.on_given_up(now, unread);
    }
}

impl Direction {
    const fn new(half: Half, seed: u64) -> Self {
        Self {
            half,
            seed,
            written: 0,
            read: 0,
            writer: Writer::Writing,
            is_reading: true,
            write_piece: (half.write.piece, None),
            read_piece: (half.read.piece, None),
        }
    }
}

impl Pace {
    /// Counts `bytes` against what is left of the piece; gives until when nothing happens then, if that is now.
    fn count(self, piece: &mut (u64, Option<Instant>), bytes: usize, now: Instant) -> Option<Instant> {
        let left = piece.0 - bytes as u64;
        if left > 0 || self.pause.is_zero() {
            piece.0 = if left > 0 { left } else { self.piece };
            return None;
        }
        *piece = (self.piece, Some(now + self.pause));
        piece.1
    }
}

/// The other one of two sides.
pub(super) const fn other(side: Side) -> Side {
    match side {
        Side::Initiator => Side::Responder,
        Side::Responder => Side::Initiator,
    }
}

/// The bytes of a direction at `offset`, made in `scratch`.
fn content(seed: u64, offset: u64, length: usize, scratch: &mut [u8]) -> &[u8] {
    let before = offset % WORD as u64;
    let start = usize::try_from(before).expect("less than a word");
    let end = start + length;
    Content::random(seed, u64::MAX).fill(offset - before, &mut scratch[..end]);
    &scratch[start..end]
}
