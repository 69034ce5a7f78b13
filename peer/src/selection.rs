//! Selections: which part of a folder is wanted, by globs over the paths in it.
//!
//! `*` stands for any characters, `/` too, and `?` for one. A glob that matches a directory takes all that is in it.

/// Whether a path is wanted: it, or a directory that leads to it, matches one of the globs, or there are none.
pub(crate) fn is_selected(globs: &[String], path: &str) -> bool {
    let mut ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
    globs.is_empty() || ends.any(|end| globs.iter().any(|glob| matches(glob.trim_end_matches('/'), &path[..end])))
}

/// Takes time in proportion to both lengths, whatever the glob.
fn matches(glob: &str, text: &str) -> bool {
    let (glob, text): (Vec<char>, Vec<char>) = (glob.chars().collect(), text.chars().collect());
    let (mut at, mut in_glob) = (0, 0);
    // The last `*`, and up to where it has taken the text.
    let mut star: Option<(usize, usize)> = None;
    while at < text.len() {
        match (glob.get(in_glob), star) {
            (Some('*'), _) => {
                star = Some((in_glob, at));
                in_glob += 1;
            }
            (Some(wanted), _) if *wanted == '?' || *wanted == text[at] => {
                at += 1;
                in_glob += 1;
            }
            (_, Some((place, taken))) => {
                star = Some((place, taken + 1));
                (at, in_glob) = (taken + 1, place + 1);
            }
            _ => return false,
        }
    }
    glob[in_glob..].iter().all(|rest| *rest == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_take_what_people_mean() {
        for (glob, path, taken) in [
            ("docs/*", "docs/a", true),
            ("docs/*", "docs/sub/b.md", true),
            ("docs/*", "docs2/a", false),
            ("docs", "docs/sub/b", true),
            ("docs/", "docs/a", true),
            ("doc", "docs/a", false),
            ("*.md", "a/b/c.md", true),
            ("*.md", "a.md.txt", false),
            ("?.txt", "a.txt", true),
            ("?.txt", "ab.txt", false),
            ("é?", "éa", true),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b*", "xxbxxaxx", false),
            ("", "a", false),
            ("*", "a/b", true),
        ] {
            assert_eq!(is_selected(&[glob.to_owned()], path), taken, "{glob} {path}");
        }
        assert!(is_selected(&[], "a"));
        assert!(is_selected(&["x".to_owned(), "a".to_owned()], "a"));
    }
}
