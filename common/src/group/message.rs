//! Messages: what members say to each other on the control stream of their connection. `WIRE.md` has them byte for byte.

use std::collections::BTreeSet;

use super::codec::{self, DecodeError, Writer};
use super::limits::{MAX_LISTED, MAX_MESSAGE, MAX_PLAIN_MESSAGE};
use super::line::{Line, LineId, Ordered};
use super::meeting::Meet;
use super::roster::{Addresses, Member, Point, Sealed};
use crate::id::{Content, NetworkId, PeerId};
use crate::name::{EntryName, UserName};
use crate::reader::Reader;
use crate::wire::MAX_PLAN_SEEDERS;
use crate::wire::tracker::{FolderSize, Have, Holder};

const HELO: u8 = 1;
const PING: u8 = 2;
const PONG: u8 = 3;
const MEET: u8 = 4;
const JOIN: u8 = 5;
const SEEK: u8 = 6;
const DENY: u8 = 7;
const PEER: u8 = 8;
const HERE: u8 = 9;
const LEAD: u8 = 10;
const SCLS: u8 = 11;
const LEAV: u8 = 12;
const CHAT: u8 = 13;
const LINE: u8 = 14;
const SEEN: u8 = 15;
const FILE: u8 = 16;
const HAVE: u8 = 17;
const NEWS: u8 = 18;
const GETF: u8 = 19;
const RETF: u8 = 20;
const REQF: u8 = 21;
const STRT: u8 = 22;
const MORE: u8 = 23;
const INVT: u8 = 24;
const OPEN: u8 = 25;
const MISS: u8 = 26;

/// Most announcements in one HAVE; bytes bound it besides.
pub(super) const MAX_ANNOUNCED: usize = 512;

/// What one says to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Message {
    /// The first on each connection, from both.
    Hello { protocol: u16, network: NetworkId },
    /// Are you there?
    Ping,
    /// Yes.
    Pong,
    /// I am a supernode: from one to who may be one too.
    Meet(Meet),
    /// Take me in, or lead me on.
    Join(Join),
    /// Where is our supernode? From one who looks for it to one who would not be the next.
    Seek,
    /// You are not taken in.
    Deny(Denial),
    /// Who is in the network, from its supernode; and the last line that it knows.
    Peer { roster: Sealed, heard: Option<Point> },
    /// I follow you, by this roster; and the last line that I know, if I want what came after it.
    Here { point: Point, heard: Option<Point> },
    /// This is my supernode's PEER: go there.
    Lead(Sealed),
    /// I am a supernode no more; my successor stands here.
    Farewell(Sealed),
    /// I leave you.
    Leave,
    /// I lead, and you are not in my list.
    Missing,
    /// I say something.
    Chat(Line),
    /// Somebody said something.
    Line(Ordered),
    /// That line of yours was shown before.
    Seen(LineId),
    /// What I share.
    File(Shares),
    /// What I have.
    Have(Vec<(Content, Have)>),
    /// What others share since now.
    News { owner: PeerId, shares: Shares },
    /// Which files are there?
    GetFiles { request: u32, name: Option<EntryName>, offset: u32 },
    /// These.
    Files { request: u32, total: u32, files: Vec<Listing> },
    /// Who has this?
    Request { request: u32, content: Content },
    /// These.
    Start { request: u32, content: Content, holders: Vec<Holder> },
    /// One more has something of what you want.
    More { content: Content, holder: Holder },
    /// Have this member open its NAT towards me.
    Invite(PeerId),
    /// Open your NAT towards this member.
    Open(Member),
}

/// Who wants to be taken in. Its keys are those of the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Join {
    pub(super) name: UserName,
    pub(super) addresses: Addresses,
    /// The last roster it was in, and whose.
    pub(super) after: Option<Origin>,
}

/// A roster by its number: which, and whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) point: Point,
    pub(super) supernode: PeerId,
}

/// Why somebody is not taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// There are as many members as there may be.
    #[error("the network is full")]
    Full,
    /// The newcomer's term is further ahead than can be.
    #[error("its term is too far ahead")]
    FarAhead,
}

/// Changes of what a member shares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shares {
    pub(super) tidings: Tidings,
    pub(super) shared: Vec<(EntryName, Shared)>,
    pub(super) dropped: Vec<EntryName>,
}

/// Whether others are to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tidings {
    /// It is new.
    New,
    /// It is told again, to a new supernode.
    Known,
}

/// What is shared under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shared {
    /// What.
    pub content: Content,
    /// Of a folder, how much is in it, by the word of its owner.
    pub folder: Option<FolderSize>,
}

impl From<Content> for Shared {
    fn from(content: Content) -> Self {
        Self { content, folder: None }
    }
}

/// A file that somebody shares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// Whose.
    pub owner: PeerId,
    /// Under which name.
    pub entry: EntryName,
    /// What.
    pub shared: Shared,
}

impl Message {
    /// Its bytes, without the length that goes before them on the stream.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        match self {
            Self::Hello { protocol, network } => writer.u8(HELO).u16(*protocol).raw(&network.0),
            Self::Ping => writer.u8(PING),
            Self::Pong => writer.u8(PONG),
            Self::Meet(meet) => {
                meet.encode(writer.u8(MEET));
                &mut writer
            }
            Self::Join(join) => writer.u8(JOIN).text(join.name.as_str()).addresses(&join.addresses).option(
                join.after,
                |writer, after| {
                    writer.point(after.point).peer(&after.supernode);
                },
            ),
            Self::Seek => writer.u8(SEEK),
            Self::Deny(denial) => writer.u8(DENY).u8(*denial as u8),
            Self::Peer { roster, heard } => {
                roster.encode(writer.u8(PEER));
                put_point(&mut writer, *heard)
            }
            Self::Here { point, heard } => put_point(writer.u8(HERE).point(*point), *heard),
            Self::Lead(sealed) => put_sealed(writer.u8(LEAD), sealed),
            Self::Farewell(sealed) => put_sealed(writer.u8(SCLS), sealed),
            Self::Leave => writer.u8(LEAV),
            Self::Missing => writer.u8(MISS),
            Self::Invite(peer) => writer.u8(INVT).peer(peer),
            Self::Open(member) => {
                member.encode(writer.u8(OPEN));
                &mut writer
            }
            said => said.encode_said(&mut writer),
        };
        writer.into_bytes()
    }

    /// The part of [`Self::encode`] that is about chat and files.
    fn encode_said<'a>(&self, writer: &'a mut Writer) -> &'a mut Writer {
        match self {
            Self::Chat(line) => line.encode(writer.u8(CHAT)),
            Self::Line(ordered) => ordered.encode(writer.u8(LINE)),
            Self::Seen(id) => {
                writer.u8(SEEN).peer(&id.author).u64(id.run).u64(id.number);
            }
            Self::File(shares) => shares.encode(writer.u8(FILE)),
            Self::Have(haves) => {
                writer.u8(HAVE).count(haves.len());
                for (content, have) in haves {
                    writer.content(content).have(content, have);
                }
            }
            Self::News { owner, shares } => shares.encode(writer.u8(NEWS).peer(owner)),
            Self::GetFiles { request, name, offset } => {
                writer.u8(GETF).u32(*request).option(name.as_ref(), |writer, name| {
                    writer.text(name.as_str());
                });
                writer.u32(*offset);
            }
            Self::Files { request, total, files } => {
                writer.u8(RETF).u32(*request).u32(*total).count(files.len());
                for file in files {
                    writer.peer(&file.owner).text(file.entry.as_str()).shared(&file.shared);
                }
            }
            Self::Request { request, content } => {
                writer.u8(REQF).u32(*request).content(content);
            }
            Self::Start { request, content, holders } => {
                writer.u8(STRT).u32(*request).content(content).count(holders.len());
                for holder in holders {
                    put_holder(writer, content, holder);
                }
            }
            Self::More { content, holder } => put_holder(writer.u8(MORE).content(content), content, holder),
            _ => unreachable!("the other kinds are written where this is called"),
        }
        writer
    }

    /// Reads a message: exactly one, in the form that [`Self::encode`] gives.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let kind = reader.u8()?;
        let limit = if matches!(kind, PEER | LEAD) { MAX_MESSAGE } else { MAX_PLAIN_MESSAGE };
        if bytes.len() > limit {
            return Err(DecodeError::Limit);
        }
        let message = match kind {
            HELO => Self::Hello { protocol: reader.u16()?, network: NetworkId(reader.array()?) },
            PING => Self::Ping,
            PONG => Self::Pong,
            MEET => Self::Meet(Meet::decode(&mut reader)?),
            JOIN => Self::Join(Join::decode(&mut reader)?),
            SEEK => Self::Seek,
            DENY => Self::Deny(Denial::decode(&mut reader)?),
            PEER => {
                Self::Peer { roster: Sealed::decode(&mut reader)?, heard: codec::option(&mut reader, codec::point)? }
            }
            HERE => Self::Here { point: codec::point(&mut reader)?, heard: codec::option(&mut reader, codec::point)? },
            LEAD => Self::Lead(Sealed::decode(&mut reader)?),
            SCLS => Self::Farewell(Sealed::decode(&mut reader)?),
            LEAV => Self::Leave,
            MISS => Self::Missing,
            INVT => Self::Invite(codec::peer(&mut reader)?),
            OPEN => Self::Open(Member::decode(&mut reader)?),
            kind => Self::decode_said(kind, &mut reader)?,
        };
        reader.end()?;
        Ok(message)
    }

    /// The part of [`Self::decode`] that is about chat and files.
    fn decode_said(kind: u8, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match kind {
            CHAT => Self::Chat(Line::decode(reader)?),
            LINE => Self::Line(Ordered::decode(reader)?),
            SEEN => Self::Seen(LineId { author: codec::peer(reader)?, run: reader.u64()?, number: reader.u64()? }),
            FILE => Self::File(Shares::decode(reader)?),
            HAVE => Self::Have(haves(reader)?),
            NEWS => Self::News { owner: codec::peer(reader)?, shares: Shares::decode(reader)? },
            GETF => Self::GetFiles {
                request: reader.u32()?,
                name: codec::option(reader, codec::entry_name)?,
                offset: reader.u32()?,
            },
            RETF => Self::Files {
                request: reader.u32()?,
                total: reader.u32()?,
                files: codec::list(reader, MAX_LISTED, listing)?,
            },
            REQF => Self::Request { request: reader.u32()?, content: codec::content(reader)? },
            STRT => {
                let (request, content) = (reader.u32()?, codec::content(reader)?);
                let holders = codec::list(reader, MAX_PLAN_SEEDERS, |reader| holder(reader, &content))?;
                Self::Start { request, content, holders }
            }
            MORE => {
                let content = codec::content(reader)?;
                Self::More { content, holder: holder(reader, &content)? }
            }
            kind => return Err(DecodeError::Kind(kind)),
        })
    }
}

impl Join {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (name, addresses) = (codec::user_name(reader)?, codec::addresses(reader)?);
        let after = codec::option(reader, |reader| {
            Ok(Origin { point: codec::point(reader)?, supernode: codec::peer(reader)? })
        })?;
        Ok(Self { name, addresses, after })
    }
}

impl Denial {
    const ALL: [Self; 2] = [Self::Full, Self::FarAhead];

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let kind = reader.u8()?;
        Self::ALL.into_iter().find(|denial| *denial as u8 == kind).ok_or(DecodeError::Kind(kind))
    }
}

impl Shares {
    fn encode(&self, writer: &mut Writer) {
        writer.u8(self.tidings as u8).count(self.shared.len());
        for (entry, shared) in &self.shared {
            writer.text(entry.as_str()).shared(shared);
        }
        writer.count(self.dropped.len());
        for entry in &self.dropped {
            writer.text(entry.as_str());
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let kind = reader.u8()?;
        let known = [Tidings::New, Tidings::Known].into_iter().find(|tidings| *tidings as u8 == kind);
        let tidings = known.ok_or(DecodeError::Kind(kind))?;
        let shared =
            codec::list(reader, MAX_LISTED, |reader| Ok((codec::entry_name(reader)?, codec::shared(reader)?)))?;
        Ok(Self { tidings, shared, dropped: codec::list(reader, MAX_LISTED, codec::entry_name)? })
    }
}

/// What somebody has, of nothing twice: who says now this, now that, has others told of it each time.
fn haves(reader: &mut Reader<'_>) -> Result<Vec<(Content, Have)>, DecodeError> {
    let mut known = BTreeSet::new();
    codec::list(reader, MAX_ANNOUNCED, |reader| {
        let content = codec::content(reader)?;
        if !known.insert(content) {
            return Err(DecodeError::Form);
        }
        Ok((content, codec::have(reader, &content)?))
    })
}

fn put_point(writer: &mut Writer, point: Option<Point>) -> &mut Writer {
    writer.option(point, |writer, point| {
        writer.point(point);
    })
}

fn put_sealed<'a>(writer: &'a mut Writer, sealed: &Sealed) -> &'a mut Writer {
    sealed.encode(writer);
    writer
}

fn put_holder(writer: &mut Writer, content: &Content, holder: &Holder) {
    let addresses = Addresses::new(holder.addresses.iter().copied());
    writer.peer(&holder.peer).text(&holder.user).addresses(&addresses);
    writer.option(holder.have.as_ref(), |writer, have| {
        writer.have(content, have);
    });
}

fn holder(reader: &mut Reader<'_>, content: &Content) -> Result<Holder, DecodeError> {
    let (peer, user) = (codec::peer(reader)?, codec::user_name(reader)?);
    let addresses = codec::addresses(reader)?.as_slice().to_vec();
    let have = codec::option(reader, |reader| codec::have(reader, content))?;
    Ok(Holder { peer, user: user.to_string(), addresses, have })
}

fn listing(reader: &mut Reader<'_>) -> Result<Listing, DecodeError> {
    Ok(Listing { owner: codec::peer(reader)?, entry: codec::entry_name(reader)?, shared: codec::shared(reader)? })
}
