//! The demo's end: who sent how much, whether it is right, and how fast it was.

use common::id::{FileId, Hash};
use serde_json::json;

use crate::command::{Downloaded, Failure, FailureKind, Share};
use crate::shell::render;

const MIB: u64 = 1 << 20;
/// Columns of the longest bar.
const BAR_WIDTH: u128 = 32;
/// Columns of what stands before each line.
const LABEL_WIDTH: usize = 9;

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
            asked_for: download.file.file_or_manifest(),
            source,
            result,
        }
    }

    /// Who sent how much, and three lines.
    pub(super) fn lines(&self, paint: Paint) -> Vec<String> {
        let size = self.asked_for.length();
        let most = self.shares.iter().map(|share| share.bytes).max().unwrap_or(0);
        let row = |name: &str, chunks: u32, bytes: u64| {
            let bar = usize::try_from(u128::from(bytes) * BAR_WIDTH / u128::from(most.max(1))).unwrap_or(0);
            let pad = " ".repeat(usize::try_from(BAR_WIDTH).unwrap_or(0).saturating_sub(bar));
            let bar = paint.cyan(&"=".repeat(bar));
            let percent = tenths(u128::from(bytes) * 1000, size);
            let noun = if chunks == 1 { "chunk " } else { "chunks" };
            format!("  {} {bar}{pad} {chunks:>6} {noun} {:>10} {percent:>6} %", label(name, paint), mib(bytes))
        };
        let mut lines: Vec<String> =
            self.shares.iter().map(|share| row(&share.user, share.chunks, share.bytes)).collect();
        lines.extend(self.idle.iter().map(|name| row(name, 0, 0)));
        let (id, hash) = (self.asked_for == self.result.file, self.source.sha256 == self.result.sha256);
        let id = if id { paint.green("verified") } else { paint.red("WRONG") };
        let hash = if hash { paint.green("the same as the source's") } else { paint.red("NOT the source's") };
        let speed = format!("{} MB/s", self.megabytes_per_sec());
        lines.extend([
            String::new(),
            format!("  {} {} {id}", label("file id", paint), self.result.file),
            format!("  {} {} {hash}", label("sha256", paint), self.result.sha256),
            format!(
                "  {} {}: {} in {}.{:03} s, encrypted and verified",
                label("speed", paint),
                paint.bold(&speed),
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

/// What stands before a line of the demo.
pub(super) fn label(text: &str, paint: Paint) -> String {
    paint.bold(&format!("{text:<LABEL_WIDTH$}"))
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", tenths(u128::from(bytes) * 10, MIB))
}

/// Whether lines have colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paint {
    Coloured,
    Plain,
}

impl Paint {
    pub(super) fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    fn green(self, text: &str) -> String {
        self.wrap("1;32", text)
    }

    fn red(self, text: &str) -> String {
        self.wrap("1;31", text)
    }

    fn cyan(self, text: &str) -> String {
        self.wrap("36", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        match self {
            Self::Coloured => format!("\x1b[{code}m{text}\x1b[0m"),
            Self::Plain => text.to_owned(),
        }
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
            version: 1,
            file: file.into(),
            bytes: length,
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
        let lines = report(256 * MIB).lines(Paint::Plain);
        assert_eq!(
            lines[..3],
            [
                "  ann       ================================    128 chunks  128.0 MiB   50.0 %",
                "  bob       ================                     64 chunks   64.0 MiB   25.0 %",
                "  eve                                             0 chunks    0.0 MiB    0.0 %",
            ]
        );
        assert!(lines[4].ends_with(" verified"), "{}", lines[4]);
        assert!(lines[5].ends_with(" the same as the source's"), "{}", lines[5]);
        assert_eq!(lines[6], "  speed     536.9 MB/s: 256.0 MiB in 0.500 s, encrypted and verified");
    }

    #[test]
    fn an_empty_file_divides_nothing_by_nothing() {
        let lines = report(0).lines(Paint::Plain);
        assert!(lines[0].ends_with("     0 chunks    0.0 MiB    0.0 %"), "{}", lines[0]);
        assert!(lines[6].contains("0.0 MB/s"), "{lines:?}");
    }

    #[test]
    fn colours_are_only_round_the_words() {
        let plain = report(256 * MIB).lines(Paint::Plain).join("\n");
        let mut coloured = report(256 * MIB).lines(Paint::Coloured).join("\n");
        for code in ["1", "36", "1;32", "0"] {
            coloured = coloured.replace(&format!("\x1b[{code}m"), "");
        }
        assert_eq!(coloured, plain);
    }

    #[test]
    fn a_wrong_byte_is_a_failure() {
        let mut report = report(MIB);
        assert_eq!(report.verdict(), Ok(()));
        report.result.sha256 = Hash([3; 32]);
        assert!(report.verdict().is_err());
        assert!(report.lines(Paint::Plain)[5].ends_with("NOT the source's"));
        assert!(report.json().contains("\"right\":false"));
    }
}
