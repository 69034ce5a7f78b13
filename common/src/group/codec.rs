//! Values as bytes, both ways: what messages and signed texts are made of. All numbers are big-endian.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Addresses;
use super::Point;
use super::Shared;
use super::limits::MAX_TERM;
use crate::bitmap::{Bitmap, BitmapError};
use crate::id::{Content, FileId, FolderId, Hash, IdError, PeerId};
use crate::identity::PublicKey;
use crate::name::{EntryName, NameError, UserName};
use crate::reader::{ReadError, Reader};
use crate::wire::MAX_ADDRESSES;
use crate::wire::tracker::{FolderSize, Have};

const IPV4: u8 = 4;
const IPV6: u8 = 6;
const FILE: u8 = 0;
const FOLDER: u8 = 1;
const ABSENT: u8 = 0;
const PRESENT: u8 = 1;
const HAVE_NONE: u8 = 0;
const HAVE_ALL: u8 = 1;
const HAVE_MAP: u8 = 2;
const HAVE_ADD: u8 = 3;

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Too few bytes or too many.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A kind that does not exist.
    #[error("unknown kind {0}")]
    Kind(u8),
    /// More than is allowed.
    #[error("too much of something")]
    Limit,
    /// Not in the one form it has: out of order, twice, or with something of no meaning.
    #[error("not in canonical form")]
    Form,
    /// Not a name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Not the id of a file or folder.
    #[error(transparent)]
    Id(#[from] IdError),
    /// Not a map of that file.
    #[error(transparent)]
    Bitmap(#[from] BitmapError),
    /// Text that is none.
    #[error("not UTF-8")]
    Utf8,
}

/// Puts values behind each other.
#[derive(Debug, Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    pub(super) fn u8(&mut self, value: u8) -> &mut Self {
        self.raw(&[value])
    }

    pub(super) fn u16(&mut self, value: u16) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    pub(super) fn u32(&mut self, value: u32) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    pub(super) fn u64(&mut self, value: u64) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    /// How many of something follow. More than 65,535 is never written: the limits are far below.
    pub(super) fn count(&mut self, count: usize) -> &mut Self {
        self.u16(u16::try_from(count).expect("lists are kept below their limits"))
    }

    /// Bytes of any length, behind their number.
    pub(super) fn blob(&mut self, bytes: &[u8]) -> &mut Self {
        self.u32(u32::try_from(bytes.len()).expect("messages are far below 4 GiB")).raw(bytes)
    }

    pub(super) fn option<T>(&mut self, value: Option<T>, put: impl FnOnce(&mut Self, T)) -> &mut Self {
        match value {
            None => self.u8(ABSENT),
            Some(value) => {
                self.u8(PRESENT);
                put(self, value);
                self
            }
        }
    }

    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.count(text.len()).raw(text.as_bytes())
    }

    pub(super) fn peer(&mut self, peer: &PeerId) -> &mut Self {
        self.raw(&peer.0)
    }

    pub(super) fn point(&mut self, point: Point) -> &mut Self {
        self.u64(point.term).u64(point.number)
    }

    pub(super) fn addresses(&mut self, addresses: &Addresses) -> &mut Self {
        self.count(addresses.as_slice().len());
        for address in addresses.as_slice() {
            self.address(address);
        }
        self
    }

    fn address(&mut self, address: &SocketAddr) -> &mut Self {
        match address.ip() {
            IpAddr::V4(ip) => self.u8(IPV4).raw(&ip.octets()),
            IpAddr::V6(ip) => self.u8(IPV6).raw(&ip.octets()),
        };
        self.u16(address.port())
    }

    pub(super) fn content(&mut self, content: &Content) -> &mut Self {
        let file = content.file_or_manifest();
        self.u8(if content.folder().is_some() { FOLDER } else { FILE }).u64(file.length()).raw(&file.root().0);
        match content.folder() {
            None => self,
            Some(folder) => self.u32(folder.chunks()),
        }
    }

    /// What is shared: of a folder, how much is in it too.
    pub(super) fn shared(&mut self, shared: &Shared) -> &mut Self {
        self.content(&shared.content);
        match shared.content.folder() {
            None => self,
            Some(_) => self.option(shared.folder, |writer, size| {
                writer.u32(size.files).u64(size.bytes);
            }),
        }
    }

    /// What somebody has of `content`. A map that is none of it is written as nothing.
    pub(super) fn have(&mut self, content: &Content, have: &Have) -> &mut Self {
        match have {
            Have::All => self.u8(HAVE_ALL),
            Have::None => self.u8(HAVE_NONE),
            Have::Map(_) => match have.to_bitmap(content) {
                Ok(bitmap) => self.u8(HAVE_MAP).blob(bitmap.as_bytes()),
                Err(_) => self.u8(HAVE_NONE),
            },
            Have::Add(chunks) => {
                self.u8(HAVE_ADD).u32(u32::try_from(chunks.len()).expect("there are not so many chunks"));
                for chunk in chunks {
                    self.u32(*chunk);
                }
                self
            }
        }
    }
}

/// How many of something follow, at most `limit`.
pub(super) fn count(reader: &mut Reader<'_>, limit: usize) -> Result<usize, DecodeError> {
    let count = usize::from(reader.u16()?);
    if count > limit { Err(DecodeError::Limit) } else { Ok(count) }
}

/// A list of at most `limit`. Memory is taken as the bytes are read, so that a lying count costs nothing.
pub(super) fn list<'a, T>(
    reader: &mut Reader<'a>,
    limit: usize,
    mut item: impl FnMut(&mut Reader<'a>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let mut items = Vec::new();
    for _ in 0..count(reader, limit)? {
        items.push(item(reader)?);
    }
    Ok(items)
}

pub(super) fn blob<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], DecodeError> {
    let length = usize::try_from(reader.u32()?).map_err(|_error| DecodeError::Limit)?;
    Ok(reader.take(length)?)
}

pub(super) fn option<'a, T>(
    reader: &mut Reader<'a>,
    value: impl FnOnce(&mut Reader<'a>) -> Result<T, DecodeError>,
) -> Result<Option<T>, DecodeError> {
    match reader.u8()? {
        ABSENT => Ok(None),
        PRESENT => value(reader).map(Some),
        kind => Err(DecodeError::Kind(kind)),
    }
}

pub(super) fn text<'a>(reader: &mut Reader<'a>, limit: usize) -> Result<&'a str, DecodeError> {
    let length = count(reader, limit)?;
    std::str::from_utf8(reader.take(length)?).map_err(|_error| DecodeError::Utf8)
}

pub(super) fn user_name(reader: &mut Reader<'_>) -> Result<UserName, DecodeError> {
    Ok(UserName::new(text(reader, crate::name::MAX_USER_NAME)?)?)
}

pub(super) fn entry_name(reader: &mut Reader<'_>) -> Result<EntryName, DecodeError> {
    Ok(EntryName::new(text(reader, crate::name::MAX_ENTRY_NAME)?)?)
}

pub(super) fn peer(reader: &mut Reader<'_>) -> Result<PeerId, DecodeError> {
    Ok(PeerId(reader.array()?))
}

pub(super) fn public_key(reader: &mut Reader<'_>) -> Result<PublicKey, DecodeError> {
    Ok(PublicKey(reader.array()?))
}

pub(super) fn term(reader: &mut Reader<'_>) -> Result<u64, DecodeError> {
    let term = reader.u64()?;
    if term > MAX_TERM { Err(DecodeError::Limit) } else { Ok(term) }
}

pub(super) fn point(reader: &mut Reader<'_>) -> Result<Point, DecodeError> {
    Ok(Point { term: term(reader)?, number: term(reader)? })
}

pub(super) fn addresses(reader: &mut Reader<'_>) -> Result<Addresses, DecodeError> {
    let listed = list(reader, MAX_ADDRESSES, address)?;
    let addresses = Addresses::new(listed.iter().copied());
    // What cannot be dialled or stands twice is dropped there; a signed text must say the same to all.
    if addresses.as_slice() == listed { Ok(addresses) } else { Err(DecodeError::Form) }
}

fn address(reader: &mut Reader<'_>) -> Result<SocketAddr, DecodeError> {
    let ip = match reader.u8()? {
        IPV4 => IpAddr::V4(Ipv4Addr::from(reader.array::<4>()?)),
        IPV6 => IpAddr::V6(Ipv6Addr::from(reader.array::<16>()?)),
        kind => return Err(DecodeError::Kind(kind)),
    };
    Ok(SocketAddr::new(ip, reader.u16()?))
}

pub(super) fn content(reader: &mut Reader<'_>) -> Result<Content, DecodeError> {
    let kind = reader.u8()?;
    let file = FileId::new(reader.u64()?, Hash(reader.array()?))?;
    match kind {
        FILE => Ok(Content::File(file)),
        FOLDER => Ok(Content::Folder(FolderId::new(file, reader.u32()?)?)),
        kind => Err(DecodeError::Kind(kind)),
    }
}

/// What is shared: of a folder, how much is in it too.
pub(super) fn shared(reader: &mut Reader<'_>) -> Result<Shared, DecodeError> {
    let content = content(reader)?;
    let folder = match content.folder() {
        None => None,
        Some(_) => option(reader, |reader| Ok(FolderSize { files: reader.u32()?, bytes: reader.u64()? }))?,
    };
    Ok(Shared { content, folder })
}

/// What somebody has of `content`: checked against its number of chunks.
pub(super) fn have(reader: &mut Reader<'_>, content: &Content) -> Result<Have, DecodeError> {
    match reader.u8()? {
        HAVE_NONE => Ok(Have::None),
        HAVE_ALL => Ok(Have::All),
        HAVE_MAP => Ok(Have::Map(Bitmap::from_bytes(content.chunks(), blob(reader)?)?.to_hex())),
        HAVE_ADD => {
            let mut chunks = Vec::new();
            for _ in 0..reader.u32()? {
                let chunk = reader.u32()?;
                if chunk >= content.chunks() {
                    return Err(DecodeError::Limit);
                }
                chunks.push(chunk);
            }
            Ok(Have::Add(chunks))
        }
        kind => Err(DecodeError::Kind(kind)),
    }
}
