//! Pictures and sound of a request: from base64 to what the model's session embeds.

use std::time::Duration;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use carat::audio::{Clip, DecodeOptions, LongClip};
use carat::vision::{Budget, Picture};
use carat::{Content, Session};

use crate::error::{ApiError, sentence};

/// A part of a message whose media are decoded and not embedded yet.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    /// Words.
    Text(String),
    /// A picture.
    Picture(Picture),
    /// Sound.
    Sound(Clip),
}

impl Piece {
    /// The least tokens that it takes.
    pub(crate) fn media_tokens(&self) -> usize {
        match self {
            Self::Text(_) => 0,
            Self::Picture(picture) => picture.tokens(),
            Self::Sound(clip) => clip.tokens(),
        }
    }

    /// The part of a message, with media as rows of the model.
    pub(crate) fn embed(self, session: &mut Session) -> Result<Content, carat::Error> {
        Ok(match self {
            Self::Text(text) => Content::Text(text),
            Self::Picture(picture) => session.embed_picture(&picture)?.into(),
            Self::Sound(clip) => session.embed_clip(&clip, LongClip::Split)?.into(),
        })
    }
}

/// The picture of a data URL. `detail` is OpenAI's: how many tokens the picture may take.
pub(crate) fn picture(url: &str, detail: Option<&str>, at: &str) -> Result<Picture, ApiError> {
    let budget = match detail {
        None | Some("auto") => Budget::default(),
        Some("low") => Budget::ALL[0],
        Some("high") => Budget::ALL[Budget::ALL.len() - 1],
        Some(other) => {
            let message =
                format!("{at}.detail is {other:?}, \"auto\", \"low\" or \"high\" is wanted");
            return Err(ApiError::invalid(format!("{at}.detail"), message));
        }
    };
    let bytes = data_url(url, at)?;
    Picture::decode(&bytes, budget).map_err(|error| ApiError::invalid(at, sentence(&error)))
}

/// Sound as base64, or as a data URL.
pub(crate) fn sound(data: &str, at: &str, context: usize) -> Result<Clip, ApiError> {
    let bytes = match data.starts_with("data:") {
        true => data_url(data, at)?,
        false => base64(data, at)?,
    };
    clip(&bytes, at, context)
}

/// The sound in a file, which must fit into the context.
pub(crate) fn clip(bytes: &[u8], at: &str, context: usize) -> Result<Clip, ApiError> {
    // A second takes 25 tokens.
    let options = DecodeOptions { duration_max: Duration::from_secs(context as u64 / 25 + 1) };
    Clip::decode_with(bytes, &options).map_err(|error| ApiError::invalid(at, sentence(&error)))
}

/// The bytes of `data:[type][;parameter];base64,...` (RFC 2397).
fn data_url(url: &str, at: &str) -> Result<Vec<u8>, ApiError> {
    let shown: String = url.chars().take(40).collect();
    let Some(rest) = url.strip_prefix("data:") else {
        let message = format!(
            "{at} begins with {shown:?}, a data URL is wanted: this server fetches nothing, \
             send the bytes as data:image/png;base64,..."
        );
        return Err(ApiError::invalid(at, message));
    };
    match rest.split_once(',') {
        Some((head, data)) if head.to_ascii_lowercase().ends_with(";base64") => base64(data, at),
        _ => {
            let message = format!("{at} begins with {shown:?}, data:TYPE;base64,DATA is wanted");
            Err(ApiError::invalid(at, message))
        }
    }
}

/// Bytes in base64, with or without padding; line breaks are passed over.
fn base64(data: &str, at: &str) -> Result<Vec<u8>, ApiError> {
    let config =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let engine = GeneralPurpose::new(&alphabet::STANDARD, config);
    let decoded = match data.contains(|c: char| c.is_ascii_whitespace()) {
        true => engine.decode(data.split_ascii_whitespace().collect::<String>()),
        false => engine.decode(data),
    };
    decoded.map_err(|error| {
        ApiError::invalid(at, format!("{at} is no base64 ({error}): encode the bytes again"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_urls_are_read() {
        // RFC 4648, section 10.
        for (url, wanted) in [
            ("data:image/png;base64,Zm9vYmFy", "foobar"),
            ("data:image/png;base64,Zm9v\r\nYmE=", "fooba"),
            ("data:;base64,Zm8", "fo"),
            ("data:a/b;charset=x;BASE64,Zg==", "f"),
            ("data:;base64,", ""),
        ] {
            assert_eq!(data_url(url, "u").expect("bytes"), wanted.as_bytes(), "{url}");
        }
        for url in ["https://a/b.png", "data:image/png,abc", "data:;base64", "data:;base64,é", ""]
        {
            assert_eq!(data_url(url, "u").expect_err(url).param.as_deref(), Some("u"));
        }
    }
}
