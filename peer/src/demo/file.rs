//! The demo's file: bytes that nothing can compress.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use crate::command::{Failure, FailureKind};

/// Bytes made and written at once.
const PIECE: usize = 1 << 20;

/// Makes a file of `size` random bytes; dropping it stops the making.
pub(super) async fn make(path: &Path, size: u64) -> Result<(), Failure> {
    let stop = CancellationToken::new();
    let _stops_when_dropped = stop.clone().drop_guard();
    let (target, file) = (path.to_path_buf(), path.display().to_string());
    match tokio::task::spawn_blocking(move || fill(&target, size, &stop)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Failure::new(FailureKind::Failed, format!("could not write {file}: {error}"))),
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

fn fill(path: &PathBuf, size: u64, stop: &CancellationToken) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    let mut piece = vec![0; PIECE];
    let mut left = size;
    while left > 0 && !stop.is_cancelled() {
        let now = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        aws_lc_rs::rand::fill(&mut piece[..now]).map_err(|_unspecified| io::Error::other("no random bytes"))?;
        file.write_all(&piece[..now])?;
        left -= now as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn files_have_their_size_and_no_pattern() {
        let folder = tempfile::tempdir().unwrap();
        for size in [0, 1, PIECE as u64 + 1] {
            let path = folder.path().join(size.to_string());
            make(&path, size).await.unwrap();
            assert_eq!(path.metadata().unwrap().len(), size);
        }
        let bytes = std::fs::read(folder.path().join((PIECE + 1).to_string())).unwrap();
        let mut counts = [0u32; 256];
        bytes.iter().for_each(|byte| counts[usize::from(*byte)] += 1);
        // 4096 each are expected; a deviation of ten standard deviations does not happen by chance.
        assert!(counts.iter().all(|count| (3456..4736).contains(count)), "{counts:?}");
        assert!(make(&folder.path().join("0"), 0).await.is_err());
    }
}
