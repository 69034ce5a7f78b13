//! Folders: many small files register as one entry and arrive as they were, and so do their changes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Instant;

use peer::command::{Command, Outcome};

use super::{Findings, STEP_LIMIT, Scale};
use crate::cluster::ClusterConfig;
use crate::content::{Content, Dice};
use crate::wait::wait_until;

/// Files in one directory.
const PER_DIRECTORY: u64 = 100;
/// The longest file, in bytes.
const LONGEST: u64 = 20_000;

/// What is in a folder: of each file its bytes and whether it may be executed, by its path; `None` for a directory.
type Tree = BTreeMap<PathBuf, Option<(Vec<u8>, bool)>>;

/// Registers a folder of `size` files, downloads it, and changes it `rounds` times.
pub(super) fn folders(scale: Scale) -> Findings {
    let cluster = ClusterConfig::default().start();
    let (owner, follower) = (cluster.peer("owner").serve(), cluster.peer("follower").serve());
    let folder = cluster.dir().join("files").join("docs");
    make(&folder, scale.size);
    symlink("/etc/passwd", folder.join("out")).expect("a link can be made");

    let start = Instant::now();
    let register = Command::Register { path: folder.clone(), users: None };
    let registered = owner.command(&register).expect("the folder is registered");
    let Outcome::Registered { name, folder: Some(sizes), .. } = registered else { panic!("{registered:?}") };
    let registering = start.elapsed();
    assert_eq!((name.as_str(), u64::from(sizes.files)), ("docs", scale.size), "the link out of it is no part of it");
    let start = Instant::now();
    let copy = follower.follow("docs").expect("the folder arrives").path;
    let arriving = start.elapsed();
    fs::remove_file(folder.join("out")).expect("the link can be removed");
    assert_eq!(tree(&copy), tree(&folder));

    let mut updating = Vec::new();
    let mut dice = Dice::new(scale.seed);
    for round in 0..scale.rounds {
        change(&folder, round, scale.size, &mut dice);
        let before = follower.status().downloaded_bytes;
        let start = Instant::now();
        owner.command(&register).expect("the next version is registered");
        wait_until(STEP_LIMIT, "the next version", || marker(&copy) == marker(&folder));
        wait_until(STEP_LIMIT, "all of the next version", || tree(&copy) == tree(&folder));
        updating.push(start.elapsed().as_secs_f64());
        let moved = follower.status().downloaded_bytes - before;
        let manifest = 100 * scale.size + LONGEST;
        assert!(moved < manifest + 4 * LONGEST, "{moved} bytes moved for three files");
    }
    Findings::default()
        .with("registering", "s", vec![registering.as_secs_f64()])
        .with("arriving", "s", vec![arriving.as_secs_f64()])
        .with("a version with three other files", "s", updating)
}

fn make(folder: &Path, files: u64) {
    let mut dice = Dice::new(files);
    for number in 0..files {
        let path = file(folder, number);
        fs::create_dir_all(path.parent().expect("it is in the folder")).expect("a directory can be made");
        Content::random(number, 1 + dice.below(LONGEST)).write(&path).expect("a file can be written");
    }
    fs::create_dir(folder.join("empty")).expect("a directory can be made");
    fs::write(folder.join("nothing.txt"), b"").expect("a file can be written");
    fs::remove_file(file(folder, 0)).expect("one less, for the empty one");
    fs::set_permissions(file(folder, 1), fs::Permissions::from_mode(0o755)).expect("its mode can be set");
}

/// One file is another, one is gone, one is new.
fn change(folder: &Path, round: u32, files: u64, dice: &mut Dice) {
    let content = Content::random(u64::from(round) + 1_000_000, 1 + dice.below(LONGEST));
    content.write(&file(folder, files - 1)).expect("a file can be written");
    let gone = file(folder, 2 + u64::from(round));
    fs::remove_file(gone).expect("a file can be removed");
    content.write(&folder.join(format!("new-{round}.bin"))).expect("a file can be written");
    fs::write(folder.join("marker.txt"), round.to_string()).expect("a file can be written");
}

fn marker(folder: &Path) -> Option<Vec<u8>> {
    fs::read(folder.join("marker.txt")).ok()
}

fn file(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("part-{}", number / PER_DIRECTORY)).join(format!("file {number}.txt"))
}

fn tree(folder: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut left = vec![folder.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let (path, Ok(metadata)) = (entry.path(), entry.metadata()) else { continue };
            let relative = path.strip_prefix(folder).expect("it is in the folder").to_owned();
            if metadata.is_dir() {
                tree.insert(relative, None);
                left.push(path);
            } else {
                // It may be on its way to another name while it is looked at.
                let bytes = fs::read(&path).unwrap_or_default();
                tree.insert(relative, Some((bytes, metadata.permissions().mode() & 0o100 != 0)));
            }
        }
    }
    tree
}
