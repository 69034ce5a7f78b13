//! How much of the disk is taken by what is in the making.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::stored::read_stored;

/// Bytes on the disk of each thing in the making under `downloading`, by the name of its folder, which is its content. Data
/// are written here and there: what was not written yet takes nothing.
pub(crate) fn bytes_on_disk(downloading: &Path) -> io::Result<BTreeMap<String, u64>> {
    let mut found = BTreeMap::new();
    for folder in fs::read_dir(downloading)? {
        let folder = folder?;
        let (path, name) = (folder.path(), folder.file_name().to_string_lossy().into_owned());
        let beside_target = read_stored(&path).map(|stored| stored.data).filter(|data| !data.starts_with(&path));
        found.insert(name, allocated(&path) + beside_target.map_or(0, |data| allocated(&data)));
    }
    Ok(found)
}

/// Bytes on the disk of a file, or of all that is in a folder. What goes away meanwhile counts as nothing.
fn allocated(path: &Path) -> u64 {
    /// What the system counts in.
    const BLOCK: u64 = 512;
    let Ok(metadata) = fs::symlink_metadata(path) else { return 0 };
    if !metadata.is_dir() {
        return metadata.blocks() * BLOCK;
    }
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| allocated(&entry.path())).sum()
}
