//! The beginning of a link: TLS told who is there; now both say in which network they are.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use common::id::NetworkId;
use common::identity::PublicKey;
use common::wire::FRAME_HEADER;
use common::wire::peer::{Message, VERSION};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::{Dialler, protocol_error};

/// How long TLS and hello together may take.
pub(crate) const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// A hello is shorter than this; nothing longer is read before it.
const MAX_HELLO: usize = 256;

/// Who is at the other end of a stream.
#[derive(Debug, Clone)]
pub(crate) struct Introduced {
    /// Its key, proven by TLS.
    pub(crate) key: PublicKey,
    /// Where it is.
    pub(crate) address: SocketAddr,
    /// Who dialled.
    pub(crate) dialler: Dialler,
}

/// Exchanges hellos; an error when the other is in another network.
///
/// Reads not a byte more than the hello.
pub(crate) async fn introduce<S>(stream: &mut S, network: NetworkId, port: u16) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let mut hello = Vec::new();
    Message::Hello { version: VERSION, network, port }.encode(&mut hello);
    stream.write_all(&hello).await?;
    stream.flush().await?;
    let mut header = [0; FRAME_HEADER];
    stream.read_exact(&mut header).await?;
    let length = u32::from_be_bytes(header) as usize;
    if length > MAX_HELLO {
        return Err(protocol_error("the first message is no hello"));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    match Message::decode(&body) {
        Ok(Message::Hello { version: VERSION, network: theirs, .. }) if theirs == network => Ok(()),
        Ok(Message::Hello { version: VERSION, .. }) => Err(protocol_error("the peer is in another network")),
        Ok(Message::Hello { version, .. }) => {
            Err(protocol_error(format!("the peer speaks version {version} of the protocol, this one {VERSION}")))
        }
        Ok(_) => Err(protocol_error("the first message is no hello")),
        Err(error) => Err(protocol_error(error.to_string())),
    }
}
