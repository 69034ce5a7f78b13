//! Changes: a file that is changed under its seeder never arrives wrong, and the seeder says that it shares it no more.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use peer::notice::Notice;

use super::{Findings, MIB, STEP_LIMIT, Scale, limit_up, uploaded};
use crate::cluster::{Cluster, ClusterConfig};
use crate::content::{Content, Dice};
use crate::peer::Ran;
use crate::wait::wait_until;

const NOTICED_LIMIT: Duration = Duration::from_secs(30);
const EXIT_INCOMPLETE: i32 = 3;

/// What is done to the file.
#[derive(Debug, Clone, Copy)]
enum Change {
    Overwrite,
    Truncate,
    Replace,
    Delete,
}

const CHANGES: [Change; 4] = [Change::Overwrite, Change::Truncate, Change::Replace, Change::Delete];

/// Changes the seeder's file in the middle of each of `rounds` downloads, each time in another way.
pub(super) fn changes(scale: Scale) -> Findings {
    let cluster = ClusterConfig::default().start();
    let mut dice = Dice::new(scale.seed);
    let noticed = (0..scale.rounds)
        .zip(CHANGES.iter().cycle())
        .map(|(round, change)| one(&cluster, scale.size, round, *change, &mut dice))
        .collect();
    Findings::default().with("until the seeder withdrew it", "s", noticed)
}

fn one(cluster: &Cluster, size: u64, round: u32, change: Change, dice: &mut Dice) -> f64 {
    let content = Content::random(100 + u64::from(round), size);
    let entry = format!("film-{round}.bin");
    let file = cluster.file(&entry, content);
    // About two seconds a download.
    let seeder = cluster.peer(&format!("seeder-{round}")).args(limit_up((size / 2).max(MIB))).serve();
    seeder.register(&file);
    let mut notices = seeder.notices();
    let output = cluster.out(&entry);
    let args = [Path::new("d"), Path::new(&entry), Path::new("-o"), &output, Path::new("--wait"), Path::new("1")];
    let process = cluster.peer(&format!("downloader-{round}")).start(args);
    let moment = dice.below(size / 2);
    wait_until(STEP_LIMIT, "the download to be in its middle", || uploaded([&seeder]) > moment);
    // The last quarter: the downloader may have any part already, but hardly all of this.
    apply(change, &file, size / 4 * 3);
    let ran = Ran::of(process, STEP_LIMIT);
    // Whether it had all before the change was seen, or not: never anything else under the name.
    match ran.code() {
        Some(0) => assert_eq!(content.compare(&output).expect("it can be read"), Ok(()), "{change:?}"),
        _ => {
            ran.failed_with(EXIT_INCOMPLETE);
            assert!(!output.exists(), "{change:?}: an incomplete file is visible");
        }
    }
    let withdrawn = wait_until(NOTICED_LIMIT, "the seeder to withdraw the file", || {
        seeder.complete_holders(&entry).iter().all(|name| name != seeder.spec().name())
    });
    let said = notices.find(|notice| match notice {
        Notice::Withdrawn { path, why, .. } if path == file => Some(why),
        _ => None,
    });
    assert!(!said.expect("the seeder says so").is_empty(), "{change:?}: it says why");
    assert!(seeder.status().sharing.iter().all(|item| item.path != file), "{change:?}: it is shared no more");
    seeder.stop();
    withdrawn.as_secs_f64()
}

fn apply(change: Change, path: &Path, offset: u64) {
    let open = || File::options().write(true).open(path).expect("the file is there");
    let done = match change {
        Change::Overwrite => open().write_all_at(b"something else", offset),
        Change::Truncate => open().set_len(offset),
        Change::Replace => {
            let other = path.with_extension("new");
            let length = fs::metadata(path).map_or(0, |metadata| metadata.len());
            Content::random(0, length).write(&other).and_then(|()| fs::rename(&other, path))
        }
        Change::Delete => fs::remove_file(path),
    };
    done.unwrap_or_else(|error| panic!("{change:?} can be done: {error}"));
}
