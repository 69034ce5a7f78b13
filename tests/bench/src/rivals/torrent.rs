//! Torrents: the file that names another for BitTorrent (BEP 3), and the bencoding that it is written in.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

const PIECE_LENGTH: usize = 1 << 20;

/// The bytes of a `.torrent` for one file, in pieces of 1 MiB.
pub(crate) fn torrent(path: &Path, announce: &str) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let name = path.file_name().and_then(|name| name.to_str()).ok_or(io::ErrorKind::InvalidInput)?;
    let mut pieces = Vec::new();
    let mut piece = Vec::with_capacity(PIECE_LENGTH);
    loop {
        piece.clear();
        (&mut file).take(PIECE_LENGTH as u64).read_to_end(&mut piece)?;
        if piece.is_empty() {
            break;
        }
        pieces.extend(digest(&SHA1_FOR_LEGACY_USE_ONLY, &piece).as_ref());
    }
    let info = [
        b"d".to_vec(),
        [text(b"length"), number(length)].concat(),
        [text(b"name"), text(name.as_bytes())].concat(),
        [text(b"piece length"), number(PIECE_LENGTH as u64)].concat(),
        [text(b"pieces"), text(&pieces)].concat(),
        b"e".to_vec(),
    ]
    .concat();
    Ok([b"d".to_vec(), text(b"announce"), text(announce.as_bytes()), text(b"info"), info, b"e".to_vec()].concat())
}

/// A byte string.
pub(crate) fn text(bytes: &[u8]) -> Vec<u8> {
    [bytes.len().to_string().as_bytes(), b":", bytes].concat()
}

/// A number.
pub(crate) fn number(value: u64) -> Vec<u8> {
    format!("i{value}e").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torrent_is_bencoded_as_bep_3_says() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, b"abc").unwrap();
        let torrent = torrent(&path, "http://x").unwrap();
        // SHA-1 of "abc" (FIPS 180-2, appendix A.1).
        let sha1 = b"\xa9\x99\x3e\x36\x47\x06\x81\x6a\xba\x3e\x25\x71\x78\x50\xc2\x6c\x9c\xd0\xd8\x9d";
        let head = b"d8:announce8:http://x4:infod6:lengthi3e4:name1:a12:piece lengthi1048576e6:pieces20:";
        assert_eq!(torrent, [head.as_slice(), sha1, b"ee"].concat());
    }
}
