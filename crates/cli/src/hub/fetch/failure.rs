//! What goes wrong between two machines, and whether to try again.

use std::time::Duration;

use ureq::http::HeaderMap;
use ureq::{Error, Timeout};

/// A request that brought nothing.
#[derive(Debug)]
pub(super) struct Failure {
    /// A sentence without a full stop.
    pub(super) words: String,
    pub(super) again: Again,
    /// The status, where a server answered.
    pub(super) status: Option<u16>,
}

/// When the same request may go well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    Never,
    Soon,
    /// Not before this time is over, says the server.
    After(Duration),
}

impl Failure {
    pub(super) fn never(words: impl Into<String>) -> Self {
        Self { words: words.into(), again: Again::Never, status: None }
    }

    pub(super) fn soon(words: impl Into<String>) -> Self {
        Self { words: words.into(), again: Again::Soon, status: None }
    }

    /// What a connection to `host` came to.
    pub(super) fn of_connection(host: &str, e: Error) -> Self {
        match e {
            Error::Timeout(Timeout::Connect | Timeout::Resolve) => {
                Self::soon(format!("{host} could not be reached in time"))
            }
            Error::Timeout(Timeout::PerRead | Timeout::RecvBody) => {
                Self::soon(format!("{host} sent nothing more for a while"))
            }
            Error::Timeout(_) => Self::soon(format!("{host} did not answer in time")),
            Error::HostNotFound => Self::soon(unknown(host)),
            // The standard library has no kind for it.
            Error::Io(e) if e.to_string().contains("lookup address") => Self::soon(unknown(host)),
            // TLS speaks within a read or a write.
            Error::Io(e) if e.to_string().contains("certificate") => {
                Self::never(untrusted(host, &e))
            }
            Error::Io(e) => Self::soon(format!("the connection to {host} failed ({e})")),
            Error::Protocol(e) => Self::soon(format!(
                "{host} answered what is no HTTP ({})",
                one_line(&e.to_string())
            )),
            Error::Rustls(e) => Self::never(untrusted(host, &e)),
            Error::Tls(e) => Self::never(untrusted(host, &e)),
            e => Self::never(format!("{host} cannot be asked ({})", one_line(&e.to_string()))),
        }
    }

    /// What a status other than success means for `what` of a repository.
    pub(super) fn of_status(host: &str, status: u16, headers: &HeaderMap) -> Self {
        let words = match status {
            429 => format!("{host} asks to be asked less often (429)"),
            500.. => format!("{host} is in trouble ({status})"),
            _ => format!("{host} answered {status}"),
        };
        let again = match (status, wait_of(headers)) {
            (429 | 503, Some(wait)) => Again::After(wait),
            (408 | 425 | 429 | 500 | 502 | 503 | 504, _) => Again::Soon,
            _ => Again::Never,
        };
        Self { words, again, status: Some(status) }
    }
}

fn unknown(host: &str) -> String {
    format!("{host} is unknown: there is no network, or no such host")
}

fn untrusted(host: &str, e: &dyn std::fmt::Display) -> String {
    format!(
        "{host} cannot be trusted ({e}): where a proxy reads along, name a file with its certificate \
         in SSL_CERT_FILE"
    )
}

/// The seconds of `Retry-After`. Dates are not read: they need the server's clock.
fn wait_of(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get("retry-after")?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// How long to wait before a request is sent again for the `n`th time, from 1; `None` if that is
/// longer than anybody wants to watch.
pub(super) fn pause(n: u32, again: Again) -> Option<Duration> {
    let usual = FIRST_PAUSE * 2_u32.saturating_pow(n.saturating_sub(1).min(LONGEST_DOUBLING));
    match again {
        Again::Never => None,
        Again::Soon => Some(usual),
        Again::After(wait) if wait > LONGEST_WAIT => None,
        Again::After(wait) => Some(wait.max(usual.min(FIRST_PAUSE))),
    }
}

/// At most a line of what a machine says.
pub(super) fn one_line(text: &str) -> String {
    crate::text::shortened(text.lines().next().unwrap_or_default(), LONGEST_LINE)
}

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_DOUBLING: u32 = 6;

/// Servers that want more are asked again by hand.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(120);

const LONGEST_LINE: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_end() {
        let millis = |n| pause(n, Again::Soon).map(|wait| wait.as_millis());
        assert_eq!(
            [1, 2, 3, 7, 100].map(millis).map(Option::unwrap),
            [500, 1000, 2000, 32_000, 32_000]
        );
        assert_eq!(pause(1, Again::Never), None);
        assert_eq!(pause(1, Again::After(Duration::from_secs(7))), Some(Duration::from_secs(7)));
        assert_eq!(pause(1, Again::After(Duration::from_secs(121))), None);
    }

    #[test]
    fn the_server_says_how_long_to_wait() {
        let mut headers = HeaderMap::new();
        assert_eq!(Failure::of_status("h", 503, &headers).again, Again::Soon);
        headers.insert("retry-after", "3".parse().expect("a value"));
        let wait = Again::After(Duration::from_secs(3));
        assert_eq!(Failure::of_status("h", 503, &headers).again, wait);
        assert_eq!(Failure::of_status("h", 429, &headers).again, wait);
        assert_eq!(Failure::of_status("h", 404, &headers).again, Again::Never);
        assert_eq!(Failure::of_status("h", 500, &headers).again, Again::Soon);
    }
}
