//! The demo's end: who sent how much, whether it is right, and how fast it was.

use common::id::{FileId, Hash};
use serde_json::json;

use crate::command::{Downloaded, Failure, FailureKind, Share};
use crate::shell::render;

const MIB: u64 = 1 << 20;

/// What a file on disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Checked {
    pub(super) file: FileId,
    pub(super) sha256: Hash,
}

/// All that is to be told.
#[derive(Debug)]
pub(super) struct Report {
    shares: Vec<Share>,
    /// Seeders that sent nothing.
    idle: Vec<String>,
    elapsed_ms: u64,
    asked_for: FileId,
    source: Checked,
    result: Checked,
}

impl Report {
    pub(super) fn new(seeders: Vec<String>, download: &Downloaded, source: Checked, result: Checked) -> Self {
        let idle = seeders.into_iter().filter(|name| download.shares.iter().all(|share| share.user != *name));
        Self {
            shares: download.shares.clone(),
            idle: idle.collect(),
            elapsed_ms: download.elapsed_ms,
            asked_for: download.file,
            source,
            result,
        }
    }

    /// A table and three lines.
    pub(super) fn lines(&self) -> Vec<String> {
        let size = self.asked_for.length();
        let row = |name: &str, chunks: u32, bytes: u64| {
            let (mib, percent) = (tenths(u128::from(bytes) * 10, MIB), tenths(u128::from(bytes) * 1000, size));
            format!("  {name:<10} {chunks:>7} {mib:>9} {percent:>6}")
        };
        let mut lines = vec![format!("  {:<10} {:>7} {:>9} {:>6}", "seeder", "chunks", "MiB", "%")];
        lines.extend(self.shares.iter().map(|share| row(&share.user, share.chunks, share.bytes)));
        lines.extend(self.idle.iter().map(|name| row(name, 0, 0)));
        let (id, hash) = (self.asked_for == self.result.file, self.source.sha256 == self.result.sha256);
        lines.extend([
            String::new(),
            format!("  {:<10} {}  {}", "file id", self.result.file, if id { "verified" } else { "WRONG" }),
            format!(
                "  {:<10} {}  {}",
                "sha256",
                self.result.sha256,
                if hash { "the same as the source's" } else { "NOT the source's" }
            ),
            format!(
                "  {:<10} {} MB/s: {} in {}.{:03} s, encrypted and verified",
                "speed",
                self.megabytes_per_sec(),
                render::bytes(size),
                self.elapsed_ms / 1000,
                self.elapsed_ms % 1000
            ),
        ]);
        lines
    }

    /// The same for programs.
    pub(super) fn json(&self) -> String {
        let value = json!({
            "demo": {
                "file": self.asked_for,
                "elapsed_ms": self.elapsed_ms,
                "shares": self.shares,
                "idle_seeders": self.idle,
                "result_file": self.result.file,
                "source_sha256": self.source.sha256,
                "result_sha256": self.result.sha256,
                "right": self.verdict().is_ok(),
            }
        });
        value.to_string()
    }

    /// Whether what came is what was sent.
    pub(super) fn verdict(&self) -> Result<(), Failure> {
        if self.asked_for == self.result.file && self.source == self.result {
            return Ok(());
        }
        Err(Failure::new(FailureKind::Failed, "what came is not what was sent"))
    }

    /// With one decimal.
    fn megabytes_per_sec(&self) -> String {
        // Bytes a millisecond are kilobytes a second.
        tenths(u128::from(self.asked_for.length()), self.elapsed_ms.max(1) * 100)
    }
}

/// `tenths / whole / 10` with one decimal.
fn tenths(tenths: u128, whole: u64) -> String {
    let rounded = (tenths + u128::from(whole / 2)).checked_div(u128::from(whole)).unwrap_or(0);
    format!("{}.{}", rounded / 10, rounded % 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::id::PeerId;

    fn report(length: u64) -> Report {
        let file = FileId::new(length, Hash([1; 32])).unwrap();
        let checked = Checked { file, sha256: Hash([2; 32]) };
        let share = |user: &str, bytes: u64| Share {
            user: user.to_owned(),
            peer: PeerId([0; 32]),
            address: "127.0.0.1:1".parse().unwrap(),
            chunks: u32::try_from(bytes.div_ceil(MIB)).unwrap(),
            bytes,
        };
        let shares = if length == 0 { Vec::new() } else { vec![share("ann", length / 2), share("bob", length / 4)] };
        let download = Downloaded {
            entry: "ann/demo.bin".to_owned(),
            file,
            path: "/x".into(),
            already: false,
            fetched_bytes: length,
            elapsed_ms: 500,
            shares,
        };
        let names = ["ann", "bob", "eve"].map(str::to_owned).to_vec();
        Report::new(names, &download, checked, checked)
    }

    #[test]
    fn the_table_has_everybody() {
        let lines = report(256 * MIB).lines();
        assert_eq!(
            lines[..4],
            [
                "  seeder      chunks       MiB      %",
                "  ann            128     128.0   50.0",
                "  bob             64      64.0   25.0",
                "  eve              0       0.0    0.0",
            ]
        );
        assert!(lines[5].ends_with("  verified"), "{}", lines[5]);
        assert!(lines[6].ends_with("  the same as the source's"), "{}", lines[6]);
        assert_eq!(lines[7], "  speed      536.9 MB/s: 256.0 MiB in 0.500 s, encrypted and verified");
    }

    #[test]
    fn an_empty_file_divides_nothing_by_nothing() {
        let lines = report(0).lines();
        assert_eq!(lines[1], "  ann              0       0.0    0.0");
        assert!(lines[7].contains("0.0 MB/s"), "{lines:?}");
    }

    #[test]
    fn a_wrong_byte_is_a_failure() {
        let mut report = report(MIB);
        assert_eq!(report.verdict(), Ok(()));
        report.result.sha256 = Hash([3; 32]);
        assert!(report.verdict().is_err());
        assert!(report.lines()[6].ends_with("NOT the source's"));
        assert!(report.json().contains("\"right\":false"));
    }
}
