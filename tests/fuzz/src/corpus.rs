//! The corpus: inputs in files, one a file, under `corpus/TARGET`; they are replayed by the tests.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::target::{TARGETS, Target};

/// A file or folder in the corpus that belongs to no target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stray(pub PathBuf);

/// The inputs in the corpus of `target`, in the order of their names.
pub fn kept(target: &Target) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let folder = root().join("corpus").join(target.name);
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut inputs = Vec::new();
    for path in listed(&folder)? {
        let input = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        inputs.push((path, input));
    }
    Ok(inputs)
}

/// Keeps an input under `corpus-new`, which git ignores: what is worth it is moved to `corpus` by hand.
pub fn keep(target: &Target, input: &[u8]) -> Result<PathBuf> {
    write(&root().join("corpus-new").join(target.name), input)
}

/// Keeps an input that failed under `artifacts`, which git ignores.
pub fn keep_failure(target: &Target, input: &[u8]) -> Result<PathBuf> {
    write(&root().join("artifacts").join(target.name), input)
}

/// What lies in the corpus and is not replayed.
pub fn stray() -> Result<Vec<Stray>> {
    let known = |path: &PathBuf| TARGETS.iter().any(|target| path.ends_with(target.name));
    Ok(listed(&root().join("corpus"))?.into_iter().filter(|path| !known(path)).map(Stray).collect())
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn listed(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))? {
        paths.push(entry?.path());
    }
    paths.sort();
    Ok(paths)
}

fn write(folder: &Path, input: &[u8]) -> Result<PathBuf> {
    const NAME_LENGTH: usize = 16;
    let name: String = common::merkle::sha256(input).to_string().chars().take(NAME_LENGTH).collect();
    let path = folder.join(name);
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    fs::write(&path, input).with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}
