//! Paths in JSON: a string where they are UTF-8, else `{"hex":..}` of their bytes, so that every path can be kept.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Text {
    Plain(String),
    Bytes { hex: String },
}

pub(crate) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    let text = match path.to_str() {
        Some(text) => Text::Plain(text.to_owned()),
        None => Text::Bytes { hex: HEXLOWER.encode(path.as_os_str().as_bytes()) },
    };
    text.serialize(serializer)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    match Text::deserialize(deserializer)? {
        Text::Plain(text) => Ok(text.into()),
        Text::Bytes { hex } => {
            let bytes = HEXLOWER.decode(hex.as_bytes()).map_err(serde::de::Error::custom)?;
            Ok(OsStr::from_bytes(&bytes).into())
        }
    }
}
