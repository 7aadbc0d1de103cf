//! What the environment says about the Hub: the variables of the Python library `huggingface_hub`,
//! so that what is set up for one works for the other.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// The folder with all repositories.
///
/// # Errors
/// If no variable names it and the user has no home.
pub(crate) fn cache_folder() -> Result<PathBuf> {
    if let Some(named) = path("HF_HUB_CACHE").or_else(|| path("HUGGINGFACE_HUB_CACHE")) {
        return Ok(named);
    }
    Ok(home()?.join("hub"))
}

/// `$HF_HOME`, or the folder of the Hub's programs among the caches of the user.
fn home() -> Result<PathBuf> {
    if let Some(named) = path("HF_HOME") {
        return Ok(named);
    }
    let caches = path("XDG_CACHE_HOME").or_else(|| Some(env::home_dir()?.join(".cache")));
    let Some(caches) = caches else {
        bail!("there is no home folder to keep models in: name a folder with HF_HOME");
    };
    Ok(caches.join("huggingface"))
}

/// How the Hub is reached.
#[cfg_attr(not(feature = "download"), expect(dead_code, reason = "only what downloads asks"))]
#[derive(Debug)]
pub(crate) struct Access {
    /// The address without a slash at its end.
    pub(crate) endpoint: String,
    pub(crate) token: Option<String>,
    /// The longest wait for the beginning of an answer.
    pub(crate) answer_timeout: Duration,
    /// The longest time in which nothing comes of an answer that has begun.
    pub(crate) stall_timeout: Duration,
}

#[cfg_attr(not(feature = "download"), expect(dead_code, reason = "only what downloads asks"))]
impl Access {
    /// # Errors
    /// If the environment forbids to use the network, or says something that cannot be meant.
    pub(crate) fn of_environment(endpoint: Option<&str>) -> Result<Self> {
        for key in ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"] {
            if is_on(key) {
                bail!("{key} is set, so nothing is fetched: unset it to pull a model");
            }
        }
        let endpoint = endpoint.map(str::to_owned).or_else(|| text("HF_ENDPOINT"));
        let endpoint = endpoint.unwrap_or_else(|| ENDPOINT.to_owned());
        let endpoint = endpoint.trim().trim_end_matches('/').to_owned();
        let lower = endpoint.to_ascii_lowercase();
        let is_address = ["https://", "http://"].iter().any(|scheme| {
            lower
                .strip_prefix(scheme)
                .is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
        });
        if !is_address || endpoint.contains(['?', '#', '@']) {
            bail!("{endpoint} is no address of a Hub: it should be like {ENDPOINT}");
        }
        Ok(Self {
            endpoint,
            token: token()?,
            answer_timeout: seconds("HF_HUB_ETAG_TIMEOUT")?,
            stall_timeout: seconds("HF_HUB_DOWNLOAD_TIMEOUT")?,
        })
    }
}

/// The user's token for the Hub, if there is one.
fn token() -> Result<Option<String>> {
    if is_on("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
        return Ok(None);
    }
    let named = text("HF_TOKEN").or_else(|| text("HUGGING_FACE_HUB_TOKEN"));
    let (found, place) = match named {
        Some(token) => (token, "HF_TOKEN".to_owned()),
        None => {
            let Some(file) = token_file() else { return Ok(None) };
            match fs::read_to_string(&file) {
                Ok(token) => (token, file.display().to_string()),
                Err(_) if !file.exists() => return Ok(None),
                Err(e) => {
                    return Err(e).with_context(|| {
                        format!("cannot read the token of the Hub in {}", file.display())
                    });
                }
            }
        }
    };
    let token = found.trim();
    // The token itself is never shown.
    if !token.chars().all(|c| c.is_ascii_graphic()) {
        bail!("the token in {place} has characters that no token has: log in again or empty it");
    }
    Ok((!token.is_empty()).then(|| token.to_owned()))
}

fn token_file() -> Option<PathBuf> {
    path("HF_TOKEN_PATH").or_else(|| Some(home().ok()?.join("token")))
}

/// The value of a variable that is set to something.
pub(crate) fn text(key: &str) -> Option<String> {
    env::var(key).ok().filter(|value| !value.trim().is_empty())
}

/// A path, in which `~` stands for the user's home.
fn path(key: &str) -> Option<PathBuf> {
    let value = PathBuf::from(env::var_os(key).filter(|value| !value.is_empty())?);
    Some(match (value.strip_prefix("~"), env::home_dir()) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => value,
    })
}

/// Whether a variable says yes, in the words that the Python library takes for that.
fn is_on(key: &str) -> bool {
    text(key).is_some_and(|value| {
        let value = value.trim().to_ascii_uppercase();
        ["1", "ON", "YES", "TRUE"].contains(&value.as_str())
    })
}

fn seconds(key: &str) -> Result<Duration> {
    let Some(value) = text(key) else { return Ok(TIMEOUT) };
    match value.trim().parse::<u64>() {
        Ok(n @ 1..=86_400) => Ok(Duration::from_secs(n)),
        _ => bail!("{key} is {value}: it must be a number of seconds from 1 to 86400"),
    }
}

/// The nearest folder that exists of a path and what it lies in.
#[cfg_attr(not(feature = "download"), expect(dead_code, reason = "only what downloads asks"))]
pub(crate) fn existing(path: &Path) -> Option<PathBuf> {
    path.ancestors().find_map(|folder| match folder.as_os_str().is_empty() {
        true => env::current_dir().ok(),
        false => folder.canonicalize().ok(),
    })
}

const ENDPOINT: &str = "https://huggingface.co";

/// Networks of telephones pause for some seconds, and not for longer.
const TIMEOUT: Duration = Duration::from_secs(30);
