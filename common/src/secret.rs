//! Secrets: passwords and codes. They travel, but are never printed: not in a log, not in an error, not by accident.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroize as _;

/// Most bytes of a secret.
pub const MAX_SECRET: usize = 1024;

/// A password or a code. Its memory is wiped when it goes; `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Secret(String);

/// Over [`MAX_SECRET`] bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a password or code has at most {MAX_SECRET} bytes")]
pub struct TooLong;

impl Secret {
    /// Takes a text; an error when it is too long.
    pub fn new(mut text: String) -> Result<Self, TooLong> {
        if text.len() > MAX_SECRET {
            text.zeroize();
            return Err(TooLong);
        }
        Ok(Self(text))
    }

    /// The text itself: to be checked or sent, never to be shown.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl TryFrom<String> for Secret {
    type Error = TooLong;

    fn try_from(text: String) -> Result<Self, TooLong> {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_travels_but_is_not_shown() {
        let secret = Secret::new("open sesame".to_owned()).unwrap();
        assert_eq!(format!("{secret:?}"), "Secret");
        let json = serde_json::to_string(&secret).unwrap();
        assert_eq!(json, r#""open sesame""#);
        assert_eq!(serde_json::from_str::<Secret>(&json).unwrap(), secret);
        assert_eq!(Secret::new("x".repeat(MAX_SECRET + 1)), Err(TooLong));
    }
}
