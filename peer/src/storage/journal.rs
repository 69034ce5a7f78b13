//! The journal of a file in the making: which chunks were verified and written, and which of them are surely on the
//! disk. It is only ever appended to; a record that a crash cut off or that does not check ends it.
//!
//! A record is 12 bytes: kind, three zero bytes, a big-endian u32, and the first four bytes of the SHA-256 of its
//! position and the eight bytes before, so that stale or torn blocks are not taken for records.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use common::bitmap::Bitmap;
use common::merkle::sha256;

const RECORD: usize = 12;
const CHECK: usize = 4;
const WRITTEN: u8 = 1;
const SYNCED: u8 = 2;
/// Four records a chunk are more than any honest journal has; what goes beyond is not read.
const RECORDS_PER_CHUNK: u64 = 4;

/// An open journal.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    records: u64,
}

/// What a journal says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Replayed {
    /// Verified, written, and synced: believed.
    pub(super) synced: Bitmap,
    /// Verified and written, but perhaps lost by a crash of the machine: to be hashed again.
    pub(super) written: Bitmap,
}

impl Journal {
    /// Opens or makes the journal of a file of `chunks` chunks, reads it, and cuts off what is damaged.
    pub(super) fn open(path: &Path, chunks: u32) -> io::Result<(Self, Replayed)> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        let mut bytes = Vec::new();
        let most = (u64::from(chunks) * RECORDS_PER_CHUNK + RECORDS_PER_CHUNK) * RECORD as u64;
        (&mut file).take(most).read_to_end(&mut bytes)?;
        let (replayed, records) = replay(&bytes, chunks);
        file.set_len(records * RECORD as u64)?;
        Ok((Self { file, records }, replayed))
    }

    /// Puts a journal in this one's place that says just this. What a run before this one marked, and what is no longer
    /// true of it, would otherwise be believed with the next [`Self::synced`], and fill the journal start by start.
    pub(super) fn replace(&mut self, path: &Path, synced: &Bitmap, written: &Bitmap) -> io::Result<()> {
        let fresh = path.with_extension("new");
        let file = OpenOptions::new().append(true).create(true).open(&fresh)?;
        file.set_len(0)?;
        let mut next = Self { file, records: 0 };
        let mut bytes = Vec::new();
        let mut note = |kind, number| {
            bytes.extend(record(next.records, kind, number));
            next.records += 1;
        };
        synced.iter().for_each(|chunk| note(WRITTEN, chunk));
        note(SYNCED, synced.count());
        written.iter().filter(|chunk| !synced.contains(*chunk)).for_each(|chunk| note(WRITTEN, chunk));
        next.file.write_all(&bytes)?;
        next.file.sync_data()?;
        std::fs::rename(&fresh, path)?;
        *self = next;
        Ok(())
    }

    /// Notes that a chunk was verified and written.
    pub(super) fn written(&mut self, chunk: u32) -> io::Result<()> {
        self.append(WRITTEN, chunk)
    }

    /// Notes that the data of the first `records` records is on the disk, and puts this note on the disk too.
    pub(super) fn synced(&mut self, records: u64) -> io::Result<()> {
        let records = u32::try_from(records).map_err(io::Error::other)?;
        self.append(SYNCED, records)?;
        self.file.sync_data()
    }

    /// How many records there are.
    pub(super) const fn records(&self) -> u64 {
        self.records
    }

    fn append(&mut self, kind: u8, number: u32) -> io::Result<()> {
        let bytes = record(self.records, kind, number);
        self.file.write_all(&bytes)?;
        self.records += 1;
        Ok(())
    }
}

fn record(position: u64, kind: u8, number: u32) -> [u8; RECORD] {
    let [a, b, c, d] = number.to_be_bytes();
    let body = [kind, 0, 0, 0, a, b, c, d];
    let mut record = [0; RECORD];
    let (head, check) = record.split_at_mut(RECORD - CHECK);
    head.copy_from_slice(&body);
    let mut checked = position.to_be_bytes().to_vec();
    checked.extend(body);
    check.copy_from_slice(&sha256(&checked).0[..CHECK]);
    record
}

fn replay(bytes: &[u8], chunks: u32) -> (Replayed, u64) {
    let mut written_at: Vec<(u64, u32)> = Vec::new();
    let mut synced_below = 0;
    let mut records = 0;
    for found in bytes.chunks_exact(RECORD) {
        let number = u32::from_be_bytes([found[4], found[5], found[6], found[7]]);
        if found != record(records, found[0], number) {
            break;
        }
        match found[0] {
            WRITTEN => written_at.push((records, number)),
            SYNCED => synced_below = u64::from(number),
            _ => break,
        }
        records += 1;
    }
    let mut replayed = Replayed { synced: Bitmap::empty(chunks), written: Bitmap::empty(chunks) };
    for (position, chunk) in written_at {
        if position < synced_below {
            replayed.synced.insert(chunk);
        } else {
            replayed.written.insert(chunk);
        }
    }
    (replayed, records)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn set(replayed: &Replayed) -> (Vec<u32>, Vec<u32>) {
        (replayed.synced.iter().collect(), replayed.written.iter().collect())
    }

    #[test]
    fn chunks_before_a_sync_are_believed_and_those_after_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let (mut journal, _) = Journal::open(&path, 10).unwrap();
        journal.written(3).unwrap();
        let covered = journal.records();
        journal.written(4).unwrap();
        journal.synced(covered).unwrap();
        journal.written(9).unwrap();
        journal.written(10).unwrap(); // beyond the file: nothing
        let (_, replayed) = Journal::open(&path, 10).unwrap();
        assert_eq!(set(&replayed), (vec![3], vec![4, 9]));
    }

    #[test]
    fn a_replaced_journal_says_what_is_true_and_no_more_than_that() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        for _ in 0..100 {
            let (mut journal, replayed) = Journal::open(&path, 10).unwrap();
            let mut right = replayed.written;
            right.remove(5);
            journal.replace(&path, &replayed.synced, &right).unwrap();
            for chunk in [1, 2, 5] {
                journal.written(chunk).unwrap();
            }
        }
        let (mut journal, replayed) = Journal::open(&path, 10).unwrap();
        assert_eq!(set(&replayed), (vec![], vec![1, 2, 5]));
        assert!(journal.records() <= 6, "{} records", journal.records());
        // 5 was not what it should be: a sync must not make it so.
        let mut right = replayed.written;
        right.remove(5);
        journal.replace(&path, &replayed.synced, &right).unwrap();
        journal.synced(journal.records()).unwrap();
        let (mut journal, replayed) = Journal::open(&path, 10).unwrap();
        assert_eq!(set(&replayed), (vec![1, 2], vec![]));
        journal.replace(&path, &replayed.synced, &replayed.written).unwrap();
        journal.written(7).unwrap();
        assert_eq!(set(&Journal::open(&path, 10).unwrap().1), (vec![1, 2], vec![7]));
    }

    #[test]
    fn a_torn_or_damaged_record_ends_it_and_it_goes_on_from_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let (mut journal, _) = Journal::open(&path, 10).unwrap();
        for chunk in [1, 2, 3] {
            journal.written(chunk).unwrap();
        }
        let whole = fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let (_, replayed) = Journal::open(&path, 10).unwrap();
            assert_eq!(replayed.written.count() as usize, cut / RECORD);
        }
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x10;
            fs::write(&path, &damaged).unwrap();
            let (mut journal, replayed) = Journal::open(&path, 10).unwrap();
            assert_eq!(replayed.written.count() as usize, at / RECORD);
            journal.written(7).unwrap();
            let (_, replayed) = Journal::open(&path, 10).unwrap();
            assert!(replayed.written.contains(7));
        }
    }
}
