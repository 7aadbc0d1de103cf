//! How sound files are read.

use std::time::Duration;

use super::AudioError;

/// How much sound is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct DecodeOptions {
    /// A longer file is refused, from its header where that tells, else on the way. It bounds the
    /// memory: 64 kB for every second.
    pub duration_max: Duration,
}

impl DecodeOptions {
    /// # Errors
    /// [`AudioError::TooLong`].
    pub(crate) fn check(&self, found: Duration) -> Result<(), AudioError> {
        match found > self.duration_max {
            true => Err(AudioError::TooLong { found, limit: self.duration_max }),
            false => Ok(()),
        }
    }
}

impl Default for DecodeOptions {
    fn default() -> DecodeOptions {
        DecodeOptions { duration_max: Duration::from_secs(2 * 3600) }
    }
}
