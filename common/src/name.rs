//! Names: of users and of entries. A value of these types is a legal name; what comes from a user, a file system or the
//! wire becomes one only through the checks here, which tracker and peer each make for themselves.

use std::ffi::OsStr;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Most bytes of a user's name.
pub const MAX_USER_NAME: usize = 32;
/// Most bytes of an entry's name: what common file systems allow for a file name.
pub const MAX_ENTRY_NAME: usize = 255;
/// Most bytes of an [`EntryRef`] as text.
pub const MAX_ENTRY_REF: usize = MAX_USER_NAME + 1 + MAX_ENTRY_NAME;

/// The name of a user: 1 to 32 of `a-z`, `0-9`, `.`, `_` and `-`, but neither `.` nor `..`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserName(String);

/// The name of an entry, without its owner: one path component that is safe to create on any common system.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EntryName(String);

/// An entry as users name it: `name`, or `owner/name` where the owner matters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EntryRef {
    /// Whose; `None` where any owner's will do.
    pub owner: Option<UserName>,
    /// Its name.
    pub name: EntryName,
}

/// Why a text is not a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a [`UserName`].
    #[error("a user name is 1 to 32 characters of a-z, 0-9, '.', '_' and '-', but not '.' or '..'")]
    User,
    /// Nothing.
    #[error("a name may not be empty")]
    Empty,
    /// Over [`MAX_ENTRY_NAME`].
    #[error("a name has at most 255 bytes, this one has {0}")]
    TooLong(usize),
    /// Bytes that are no text.
    #[error("a name must be valid UTF-8")]
    NotUtf8,
    /// `/` or `\`.
    #[error("a name may not contain '/' or '\\': it is one file, not a path")]
    Separator,
    /// A control character, a newline for instance.
    #[error("a name may not contain control characters such as newlines")]
    Control,
    /// A character that changes the direction of the text around it, and so can hide what a name really is.
    #[error("a name may not contain characters that change the direction of text")]
    Bidi,
    /// `.` or `..`.
    #[error("'.' and '..' are directories, not names")]
    Dots,
    /// A space or another blank at the beginning or the end.
    #[error("a name may not begin or end with a blank")]
    Blank,
    /// A dot at the end, which some systems drop.
    #[error("a name may not end with a dot")]
    TrailingDot,
    /// CON, NUL, COM1 and the like, which some systems take for a device.
    #[error("a name may not be that of a device, such as CON, NUL or COM1, with or without an extension")]
    Device,
}

impl UserName {
    /// Checks a text.
    pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
        let text = text.into();
        let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
        let length = (1..=MAX_USER_NAME).contains(&text.len());
        if length && text.bytes().all(legal) && text != "." && text != ".." {
            Ok(Self(text))
        } else {
            Err(NameError::User)
        }
    }

    /// Makes a legal name out of any text, a login name for instance: lower case, `-` for what is not allowed, cut to
    /// length, `peer` where nothing is left.
    pub fn suggestion(text: &str) -> Self {
        let mut name = String::new();
        for character in text.chars().flat_map(char::to_lowercase) {
            let legal = character.is_ascii_lowercase() || character.is_ascii_digit() || "._-".contains(character);
            match character {
                _ if name.len() == MAX_USER_NAME => break,
                _ if legal => name.push(character),
                _ if name.ends_with('-') => {}
                _ => name.push('-'),
            }
        }
        Self::new(name.trim_matches('-')).unwrap_or_else(|_| Self("peer".to_owned()))
    }

    /// This name with `-number` at its end, the front cut where it would become too long: `student-2`.
    #[must_use]
    pub fn with_suffix(&self, number: u32) -> Self {
        let suffix = format!("-{number}");
        let room = MAX_USER_NAME.saturating_sub(suffix.len());
        Self(self.0.chars().take(room).chain(suffix.chars()).collect())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl EntryName {
    /// Checks a text.
    pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
        let text = text.into();
        check_entry_name(&text)?;
        Ok(Self(text))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&OsStr> for EntryName {
    type Error = NameError;

    /// Checks a file name as the file system has it.
    fn try_from(name: &OsStr) -> Result<Self, NameError> {
        Self::new(name.to_str().ok_or(NameError::NotUtf8)?)
    }
}

fn check_entry_name(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > MAX_ENTRY_NAME {
        return Err(NameError::TooLong(text.len()));
    }
    if text.contains(['/', '\\']) {
        return Err(NameError::Separator);
    }
    if text.chars().any(|character| character.is_control() || is_line_break(character)) {
        return Err(NameError::Control);
    }
    if text.chars().any(is_bidi) {
        return Err(NameError::Bidi);
    }
    if text == "." || text == ".." {
        return Err(NameError::Dots);
    }
    if text.starts_with(char::is_whitespace) || text.ends_with(char::is_whitespace) {
        return Err(NameError::Blank);
    }
    if text.ends_with('.') {
        return Err(NameError::TrailingDot);
    }
    if is_device(text) {
        return Err(NameError::Device);
    }
    Ok(())
}

/// Line and paragraph separator: no control characters to Unicode, but newlines to some readers.
const fn is_line_break(character: char) -> bool {
    matches!(character, '\u{2028}' | '\u{2029}')
}

/// The characters with Unicode's property `Bidi_Control`.
const fn is_bidi(character: char) -> bool {
    matches!(
        character,
        '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

/// Windows looks at what stands before the first dot or colon, blanks at its end and case apart, and takes superscript
/// digits for digits.
fn is_device(text: &str) -> bool {
    let stem = text.split(['.', ':']).next().unwrap_or_default().trim_end().to_uppercase();
    if ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"].contains(&stem.as_str()) {
        return true;
    }
    let number = stem.strip_prefix("COM").or_else(|| stem.strip_prefix("LPT"));
    number.is_some_and(|number| {
        let mut characters = number.chars();
        matches!((characters.next(), characters.next()), (Some('1'..='9' | '¹' | '²' | '³'), None))
    })
}

impl FromStr for EntryRef {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.split_once('/') {
            Some((owner, name)) => {
                // `/etc/passwd`, `../x` and `a/b/c` are paths: to say so helps more than to find fault with the owner.
                let name = EntryName::new(name)?;
                let owner = UserName::new(owner).map_err(|error| match owner {
                    "" | "." | ".." => NameError::Separator,
                    _ => error,
                })?;
                Ok(Self { owner: Some(owner), name })
            }
            None => Ok(Self { owner: None, name: EntryName::new(text)? }),
        }
    }
}

impl fmt::Display for EntryRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.owner {
            Some(owner) => write!(f, "{owner}/{}", self.name),
            None => self.name.fmt(f),
        }
    }
}

macro_rules! text_of {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        string_both_ways!($name);
    };
}

macro_rules! string_both_ways {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.to_string()
            }
        }
    };
}

text_of!(UserName);
text_of!(EntryName);
string_both_ways!(EntryRef);

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ordinary_names_are_names() {
        let longest = "a".repeat(255);
        for name in [
            "doug.png",
            ".hidden",
            "a b",
            "Ünïcödé 文件.txt",
            "NAME@2",
            "-",
            "...x",
            "CONSOLE",
            "COM",
            "COM10",
            "COM0",
            "lpt",
            "a.CON",
            "👩‍👩‍👧.png",
            &longest,
        ] {
            assert_eq!(EntryName::new(name).map(String::from), Ok(name.to_owned()));
        }
    }

    #[test]
    fn names_that_would_harm_are_refused_each_with_its_reason() {
        use NameError::*;
        let too_long = "a".repeat(256);
        for (name, why) in [
            ("", Empty),
            (too_long.as_str(), TooLong(256)),
            ("../x", Separator),
            ("/etc/passwd", Separator),
            ("a/b", Separator),
            (r"a\b", Separator),
            ("a\nb", Control),
            ("a\0", Control),
            ("\u{7f}", Control),
            ("\u{85}", Control),
            ("\u{1b}[2J", Control),
            ("a\u{2028}b", Control),
            ("gpj.\u{202e}exe", Bidi),
            ("\u{200f}a", Bidi),
            ("\u{061c}", Bidi),
            ("\u{2069}", Bidi),
            (".", Dots),
            ("..", Dots),
            (" a", Blank),
            ("a\u{a0}", Blank),
            ("a.", TrailingDot),
            ("...", TrailingDot),
            ("CON", Device),
            ("con.txt", Device),
            ("Nul.tar.gz", Device),
            ("AUX .txt", Device),
            ("prn:x", Device),
            ("com1", Device),
            ("LPT9.log", Device),
            ("COM².x", Device),
            ("CONOUT$", Device),
        ] {
            assert_eq!(EntryName::new(name), Err(why), "{name:?}");
        }
        assert_eq!(EntryName::try_from(OsStr::from_bytes(&[b'a', 0xff])), Err(NotUtf8));
        assert!(serde_json::from_str::<EntryName>(r#""a/b""#).is_err());
    }

    #[test]
    fn every_refusal_is_one_sentence_of_plain_text() {
        for name in ["", "a/b", "a\nb", "\u{202e}", "..", " ", "a.", "NUL"] {
            let sentence = EntryName::new(name).unwrap_err().to_string();
            assert!(
                sentence.chars().all(|character| !character.is_control()) && !sentence.ends_with('.'),
                "{sentence}"
            );
        }
    }

    #[test]
    fn user_names_are_as_the_design_says() {
        for name in ["a", "student-2", "x.y_z", "0", &"a".repeat(32), "..."] {
            assert_eq!(UserName::new(name).map(String::from), Ok(name.to_owned()));
        }
        for name in ["", "A", "ä", "a b", "a/b", ".", "..", "a\n", &"a".repeat(33)] {
            assert_eq!(UserName::new(name), Err(NameError::User), "{name:?}");
        }
    }

    #[test]
    fn suggestions_keep_what_they_can() {
        for (login, name) in [
            ("student", "student"),
            ("Jane Doe", "jane-doe"),
            (r"LAB\jane", "lab-jane"),
            ("jane@example.org", "jane-example.org"),
            ("王", "peer"),
            ("", "peer"),
            ("..", "peer"),
            ("--", "peer"),
        ] {
            assert_eq!(UserName::suggestion(login).as_str(), name, "{login}");
        }
        assert_eq!(UserName::suggestion(&"ab".repeat(20)).as_str().len(), MAX_USER_NAME);
    }

    #[test]
    fn suffixes_fit() {
        let name = UserName::new("student").unwrap();
        assert_eq!(name.with_suffix(2).as_str(), "student-2");
        let long = UserName::new("a".repeat(32)).unwrap().with_suffix(u32::MAX);
        assert_eq!(long.as_str(), format!("{}-4294967295", "a".repeat(21)));
    }

    #[test]
    fn entries_are_named_with_or_without_owner() {
        let bare: EntryRef = "doug.png".parse().unwrap();
        assert_eq!(
            (bare.owner.as_ref(), bare.name.as_str(), bare.to_string().as_str()),
            (None, "doug.png", "doug.png")
        );
        let owned: EntryRef = "jane/doug.png".parse().unwrap();
        assert_eq!(owned.owner.as_ref().map(UserName::as_str), Some("jane"));
        assert_eq!(owned.to_string(), "jane/doug.png");
        for (text, why) in [
            ("Jane/doug.png", NameError::User),
            ("/etc", NameError::Separator),
            ("/etc/passwd", NameError::Separator),
            ("../x", NameError::Separator),
            ("a/b/c", NameError::Separator),
            ("jane/", NameError::Empty),
            ("jane/..", NameError::Dots),
            ("", NameError::Empty),
        ] {
            assert_eq!(text.parse::<EntryRef>(), Err(why), "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_passes_is_one_path_component(text in "\\PC{0,8}|[a-z./\\\\ \u{202a}-\u{202e}]{0,6}|(?s).{0,4}") {
            if let Ok(name) = EntryName::new(text.clone()) {
                let path = std::path::Path::new(name.as_str());
                prop_assert_eq!(path.file_name(), Some(OsStr::new(&text)));
                prop_assert_eq!(path.components().count(), 1);
                prop_assert!(name.as_str().len() <= MAX_ENTRY_NAME);
                let entry: EntryRef = text.parse().unwrap();
                prop_assert_eq!(entry.to_string(), text);
            }
        }

        #[test]
        fn suggestions_and_suffixes_are_legal(text in "(?s).{0,40}", number in any::<u32>()) {
            let name = UserName::suggestion(&text);
            prop_assert_eq!(UserName::new(name.as_str()), Ok(name.clone()));
            let suffixed = name.with_suffix(number);
            prop_assert!(UserName::new(suffixed.as_str()).is_ok_and(|same| same == suffixed));
        }
    }
}
