//! What is inside a sealed packet: frames, one after the other to its end. Numbers are variable-length integers of 1, 2, 4
//! or 8 bytes (RFC 9000, section 16).

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;

use super::ranges::Ranges;
use super::streams::StreamId;
use crate::reader::{ReadError, Reader};

/// Most ranges in an ADAT. At 1 Gbit/s over 50 ms with 5 % loss a window has about 220 gaps.
pub const MAX_ACK_RANGES: usize = 256;

/// Most bytes of the reason in an RCLS.
pub const MAX_REASON: usize = 256;

/// Largest value of a variable-length integer.
pub(super) const MAX_VARINT: u64 = (1 << 62) - 1;

const PAD: u8 = 0x00;
const PING: u8 = 0x01;
const ADAT: u8 = 0x02;
const ADAT_CE: u8 = 0x03;
const RSET: u8 = 0x04;
const STOP: u8 = 0x05;
const WIND: u8 = 0x06;
const WINS: u8 = 0x07;
const MAXS: u8 = 0x08;
const AFRQ: u8 = 0x09;
const CHAL: u8 = 0x0a;
const RESP: u8 = 0x0b;
const RCLS: u8 = 0x0c;
const DATA: u8 = 0x10;
/// DATA: the stream ends with this frame.
const DATA_FIN: u8 = 0x01;
/// DATA: the length is stated; otherwise the data goes to the end of the packet.
const DATA_LENGTH: u8 = 0x02;

/// Why a connection was closed, as on the wire. Below 256 it is MRT's own, above it is the program's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CloseCode(pub u64);

impl CloseCode {
    /// Nothing is wrong: the program is done.
    pub const DONE: Self = Self(0);
    /// A frame that cannot be read or has no place where it came.
    pub const FRAME: Self = Self(1);
    /// More data than was allowed, or other data for the same place.
    pub const FLOW: Self = Self(2);
    /// More streams than were allowed, or one that cannot be.
    pub const STREAM: Self = Self(3);
    /// An acknowledgement of what was never sent.
    pub const ACK: Self = Self(4);
    /// A key was used for too long.
    pub const KEY: Self = Self(5);
    /// First code that is the program's.
    pub const APPLICATION: Self = Self(256);
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame<'a> {
    /// Wants an acknowledgement and says nothing.
    Ping,
    /// ADAT: packets that came.
    Acks(Acks<'a>),
    /// RSET: the sender gives a stream up.
    Reset {
        /// Which.
        stream: StreamId,
        /// Why; the program's number.
        code: u64,
        /// How many bytes of it were sent at most.
        size: u64,
    },
    /// STOP: the receiver does not want the rest of a stream.
    Stop {
        /// Which.
        stream: StreamId,
        /// Why; the program's number.
        code: u64,
    },
    /// WIND: how much may be sent.
    Window {
        /// Sum of the highest offsets of all streams.
        total: u64,
        /// Highest offset of each stream that has no larger one by WINS.
        each: u64,
    },
    /// WINS: how much may be sent of one stream.
    StreamWindow {
        /// Which.
        stream: StreamId,
        /// Its highest offset.
        limit: u64,
    },
    /// MAXS: how many streams the receiver of this may have opened since the beginning.
    MaxStreams(u64),
    /// AFRQ: how the sender wants to be acknowledged.
    AckFrequency {
        /// After so many packets.
        packets: u64,
        /// But no later than so many microseconds.
        delay_us: u64,
    },
    /// CHAL: answer with this on the path on which it came.
    Challenge([u8; 8]),
    /// RESP: the answer.
    Response {
        /// What the challenge had.
        token: [u8; 8],
        /// Where the challenge seemed to come from.
        observed: SocketAddr,
    },
    /// RCLS: the connection is closed.
    Close {
        /// Why.
        code: CloseCode,
        /// In words, UTF-8 by intent; for logs.
        reason: &'a [u8],
    },
    /// DATA: bytes of a stream.
    Data {
        /// Which.
        stream: StreamId,
        /// Where they belong.
        offset: u64,
        /// The bytes.
        data: &'a [u8],
        /// Whether the stream ends behind them.
        fin: bool,
    },
}

impl Frame<'_> {
    /// Appends the frame as an endpoint would write it; of an ADAT as many ranges as are allowed.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut writer = FrameWriter::new(out, usize::MAX);
        match self {
            Frame::Acks(acks) => {
                let mut ranges = Ranges::new();
                for range in acks.ranges() {
                    ranges.insert(range);
                }
                writer.put_acks(&ranges, acks.delay_us, acks.congested);
            }
            frame => {
                writer.put(frame);
            }
        }
    }
}

/// The ranges of an ADAT, not yet unfolded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acks<'a> {
    /// Largest packet number that came.
    pub largest: u64,
    /// How long the acknowledgement was held back, in microseconds.
    pub delay_us: u64,
    /// How many packets so far came with the mark 'congestion experienced' (RFC 3168).
    pub congested: u64,
    /// Packets before `largest` that came without a gap.
    first: u64,
    count: u64,
    rest: Reader<'a>,
}

/// Why the inside of a packet cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// It ends too early.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// An unknown kind of frame.
    #[error("unknown frame {0:#04x}")]
    Kind(u8),
    /// A number that cannot be.
    #[error("a number in a frame is out of its range")]
    Range,
    /// A part is longer than allowed.
    #[error("a part of a frame is longer than allowed")]
    TooLong,
}

/// The frames of a packet. It ends after the first error.
#[derive(Debug, Clone)]
pub struct Frames<'a> {
    reader: Reader<'a>,
}

impl<'a> Frames<'a> {
    /// Reads the inside of a packet.
    pub const fn new(payload: &'a [u8]) -> Self {
        Self { reader: Reader::new(payload) }
    }

    fn decode(&mut self, kind: u8) -> Result<Frame<'a>, FrameError> {
        let reader = &mut self.reader;
        Ok(match kind {
            PING => Frame::Ping,
            ADAT | ADAT_CE => Frame::Acks(Acks::decode(reader, kind)?),
            RSET => Frame::Reset { stream: stream(reader)?, code: varint(reader)?, size: varint(reader)? },
            STOP => Frame::Stop { stream: stream(reader)?, code: varint(reader)? },
            WIND => Frame::Window { total: varint(reader)?, each: varint(reader)? },
            WINS => Frame::StreamWindow { stream: stream(reader)?, limit: varint(reader)? },
            MAXS => Frame::MaxStreams(varint(reader)?),
            AFRQ => Frame::AckFrequency { packets: varint(reader)?, delay_us: varint(reader)? },
            CHAL => Frame::Challenge(reader.array()?),
            RESP => Frame::Response { token: reader.array()?, observed: address(reader)? },
            RCLS => {
                let code = CloseCode(varint(reader)?);
                let length = usize::from(reader.u16()?);
                if length > MAX_REASON {
                    return Err(FrameError::TooLong);
                }
                Frame::Close { code, reason: reader.take(length)? }
            }
            kind if kind & !(DATA_FIN | DATA_LENGTH) == DATA => {
                let (stream, offset) = (stream(reader)?, varint(reader)?);
                let length = match kind & DATA_LENGTH {
                    0 => reader.left(),
                    _ => usize::try_from(varint(reader)?).unwrap_or(usize::MAX),
                };
                let data = reader.take(length)?;
                if offset + data.len() as u64 > MAX_VARINT {
                    return Err(FrameError::Range);
                }
                Frame::Data { stream, offset, data, fin: kind & DATA_FIN != 0 }
            }
            kind => return Err(FrameError::Kind(kind)),
        })
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, FrameError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let kind = self.reader.u8().ok()?;
            if kind == PAD {
                continue;
            }
            let frame = self.decode(kind);
            if frame.is_err() {
                self.reader.rest();
            }
            return Some(frame);
        }
    }
}

impl<'a> Acks<'a> {
    fn decode(reader: &mut Reader<'a>, kind: u8) -> Result<Self, FrameError> {
        let (largest, delay_us) = (varint(reader)?, varint(reader)?);
        let congested = if kind == ADAT_CE { varint(reader)? } else { 0 };
        let (first, count) = (varint(reader)?, varint(reader)?);
        if count >= MAX_ACK_RANGES as u64 {
            return Err(FrameError::TooLong);
        }
        let mut acks = Self { largest, delay_us, congested, first, count, rest: *reader };
        // Unfolded once to check all of it, and to know where the next frame begins.
        let mut ranges = acks.unfold();
        for range in ranges.by_ref() {
            range?;
        }
        let length = reader.left() - ranges.rest.left();
        acks.rest = Reader::new(reader.take(length)?);
        Ok(acks)
    }

    /// The ranges, the largest numbers first. They are apart from each other.
    pub fn ranges(&self) -> impl Iterator<Item = Range<u64>> + use<'a> {
        self.unfold().map_while(Result::ok)
    }

    const fn unfold(&self) -> Unfold<'a> {
        Unfold { end: Some(self.largest + 1), length: Some(self.first), left: self.count, rest: self.rest }
    }
}

/// Unfolds the ranges of an ADAT.
struct Unfold<'a> {
    /// Where the next range ends.
    end: Option<u64>,
    /// Its numbers but one, if they are known already.
    length: Option<u64>,
    left: u64,
    rest: Reader<'a>,
}

impl Unfold<'_> {
    fn range(&mut self, end: u64) -> Result<Range<u64>, FrameError> {
        let (end, length) = match self.length.take() {
            Some(length) => (end, length),
            None => {
                self.left -= 1;
                // At least one number is missing between two ranges.
                let gap = varint(&mut self.rest)? + 1;
                (end.checked_sub(gap).ok_or(FrameError::Range)?, varint(&mut self.rest)?)
            }
        };
        let start = end.checked_sub(length + 1).ok_or(FrameError::Range)?;
        Ok(start..end)
    }
}

impl Iterator for Unfold<'_> {
    type Item = Result<Range<u64>, FrameError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.length.is_none() && self.left == 0 {
            return None;
        }
        let range = self.range(self.end?);
        self.end = range.as_ref().ok().map(|range| range.start);
        Some(range)
    }
}

/// Writes frames behind each other, up to a limit.
#[derive(Debug)]
pub(super) struct FrameWriter<'a> {
    out: &'a mut Vec<u8>,
    limit: usize,
}

impl<'a> FrameWriter<'a> {
    /// Appends to `out` until that has `limit` bytes.
    pub(super) const fn new(out: &'a mut Vec<u8>, limit: usize) -> Self {
        Self { out, limit }
    }

    /// How many bytes there is room for.
    pub(super) fn room(&self) -> usize {
        self.limit.saturating_sub(self.out.len())
    }

    /// Appends `frame`, which is not an ADAT, if there is room; says whether.
    pub(super) fn put(&mut self, frame: &Frame<'_>) -> bool {
        let start = self.out.len();
        self.encode(frame);
        let fits = self.out.len() <= self.limit;
        if !fits {
            self.out.truncate(start);
        }
        fits
    }

    /// Appends an ADAT with as many of `ranges` as there is room for, the largest numbers first; says whether there was
    /// room for any.
    pub(super) fn put_acks(&mut self, ranges: &Ranges, delay_us: u64, congested: u64) -> bool {
        let Some(first) = ranges.last() else { return false };
        let others = || ranges.iter().rev().skip(1).take(MAX_ACK_RANGES - 1);
        let (largest, length) = (first.end - 1, first.end - first.start - 1);
        let congested_length = if congested > 0 { varint_length(congested) } else { 0 };
        /// The kind, and the number of ranges, take at most this.
        const FIXED: usize = 1 + 2;
        let head = FIXED + varint_length(largest) + varint_length(delay_us) + congested_length + varint_length(length);
        if self.room() < head {
            return false;
        }
        let mut room = self.room() - head;
        let mut above = first.start;
        let count = others().take_while(|range| {
            let length = varint_length(above - range.end - 1) + varint_length(range.end - range.start - 1);
            let fits = length <= room;
            (room, above) = (room.saturating_sub(length), range.start);
            fits
        });
        let count = count.count();
        self.out.push(if congested > 0 { ADAT_CE } else { ADAT });
        put_varint(self.out, largest);
        put_varint(self.out, delay_us);
        if congested > 0 {
            put_varint(self.out, congested);
        }
        put_varint(self.out, length);
        put_varint(self.out, count as u64);
        let mut above = first.start;
        for range in others().take(count) {
            put_varint(self.out, above - range.end - 1);
            put_varint(self.out, range.end - range.start - 1);
            above = range.start;
        }
        true
    }

    /// Begins a DATA frame; the caller has seen that there is room, and appends the data through [`Self::data`]. Without a
    /// stated `length` the data goes to the end of the packet.
    pub(super) fn put_data_head(&mut self, stream: StreamId, offset: u64, fin: bool, length: Option<usize>) {
        self.out.push(DATA | if fin { DATA_FIN } else { 0 } | if length.is_some() { DATA_LENGTH } else { 0 });
        put_varint(self.out, stream.0);
        put_varint(self.out, offset);
        if let Some(length) = length {
            put_varint(self.out, length as u64);
        }
    }

    /// Appends bytes as they are: the data behind [`Self::put_data_head`].
    pub(super) fn data(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    fn encode(&mut self, frame: &Frame<'_>) {
        let out = &mut *self.out;
        match frame {
            Frame::Ping => out.push(PING),
            Frame::Acks(_) => unreachable!("put_acks writes these"),
            Frame::Reset { stream, code, size } => put_numbers(out, RSET, &[stream.0, *code, *size]),
            Frame::Stop { stream, code } => put_numbers(out, STOP, &[stream.0, *code]),
            Frame::Window { total, each } => put_numbers(out, WIND, &[*total, *each]),
            Frame::StreamWindow { stream, limit } => put_numbers(out, WINS, &[stream.0, *limit]),
            Frame::MaxStreams(count) => put_numbers(out, MAXS, &[*count]),
            Frame::AckFrequency { packets, delay_us } => put_numbers(out, AFRQ, &[*packets, *delay_us]),
            Frame::Challenge(token) => {
                out.push(CHAL);
                out.extend(token);
            }
            Frame::Response { token, observed } => {
                out.push(RESP);
                out.extend(token);
                put_address(out, *observed);
            }
            Frame::Close { code, reason } => {
                put_numbers(out, RCLS, &[code.0]);
                let reason = reason.get(..MAX_REASON).unwrap_or(reason);
                out.extend(u16::try_from(reason.len()).expect("cut to 256").to_be_bytes());
                out.extend_from_slice(reason);
            }
            Frame::Data { stream, offset, data, fin } => {
                self.put_data_head(*stream, *offset, *fin, Some(data.len()));
                self.data(data);
            }
        }
    }
}

/// How many bytes [`put_varint`] takes for `value`.
pub(super) const fn varint_length(value: u64) -> usize {
    match value {
        0..=0x3f => 1,
        0x40..=0x3fff => 2,
        0x4000..=0x3fff_ffff => 4,
        _ => 8,
    }
}

/// Appends a variable-length integer of at most [`MAX_VARINT`].
pub(super) fn put_varint(out: &mut Vec<u8>, value: u64) {
    debug_assert!(value <= MAX_VARINT, "{value} is too large for a variable-length integer");
    let [_, _, _, _, e, f, g, h] = value.to_be_bytes();
    match varint_length(value) {
        1 => out.push(h),
        2 => out.extend([0x40 | g, h]),
        4 => out.extend([0x80 | e, f, g, h]),
        _ => out.extend((value | 0xc0 << 56).to_be_bytes()),
    }
}

/// Takes a variable-length integer.
pub(super) fn varint(reader: &mut Reader<'_>) -> Result<u64, ReadError> {
    let first = reader.u8()?;
    let high = u64::from(first & 0x3f);
    Ok(match first >> 6 {
        0 => high,
        1 => high << 8 | u64::from(reader.u8()?),
        2 => {
            let [a, b, c] = reader.array()?;
            high << 24 | u64::from(a) << 16 | u64::from(b) << 8 | u64::from(c)
        }
        _ => {
            let [a, b, c, d, e, f, g] = reader.array()?;
            high << 56 | u64::from_be_bytes([0, a, b, c, d, e, f, g])
        }
    })
}

/// Appends an address: 4 or 6, the IP address, the port.
pub(crate) fn put_address(out: &mut Vec<u8>, address: SocketAddr) {
    match address.ip() {
        IpAddr::V4(ip) => {
            out.push(4);
            out.extend(ip.octets());
        }
        IpAddr::V6(ip) => {
            out.push(6);
            out.extend(ip.octets());
        }
    }
    out.extend(address.port().to_be_bytes());
}

/// Takes an address.
pub(crate) fn address(reader: &mut Reader<'_>) -> Result<SocketAddr, FrameError> {
    let ip = match reader.u8()? {
        4 => IpAddr::V4(Ipv4Addr::from(reader.array::<4>()?)),
        6 => IpAddr::V6(Ipv6Addr::from(reader.array::<16>()?)),
        _ => return Err(FrameError::Range),
    };
    Ok(SocketAddr::new(ip, reader.u16()?))
}

fn stream(reader: &mut Reader<'_>) -> Result<StreamId, ReadError> {
    Ok(StreamId(varint(reader)?))
}

fn put_numbers(out: &mut Vec<u8>, kind: u8, numbers: &[u64]) {
    out.push(kind);
    for number in numbers {
        put_varint(out, *number);
    }
}
