//! Requests to the Hub and to the hosts that it sends on to.

use std::time::Duration;

use ureq::http::header::{ACCEPT_ENCODING, AUTHORIZATION, LOCATION};
use ureq::http::{HeaderMap, Method, Request, Uri};
use ureq::{Agent, Body};

use super::failure::Failure;
use super::proxy::Proxies;
use super::trust;
use crate::hub::environment::Access;

/// How the Hub is asked.
#[derive(Debug)]
pub(super) struct Client {
    agent: Agent,
    access: Access,
    /// The host of the Hub, the only one that is told the token.
    home: Uri,
    proxies: Proxies,
}

/// An answer, whatever it says.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    /// Headers of the answers that led here.
    pub(super) hops: Vec<HeaderMap>,
    pub(super) body: Body,
    /// The host that answered.
    pub(super) host: String,
}

impl Client {
    /// # Errors
    /// If the address of the Hub is none, or certificates that are named cannot be read.
    pub(super) fn new(access: Access) -> Result<Self, Failure> {
        let home: Uri = access
            .endpoint
            .parse()
            .map_err(|_| Failure::never(format!("{} is no address of a Hub", access.endpoint)))?;
        // Redirects are followed here, where it is known who may see the token.
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .tls_config(trust::config()?)
            .timeout_connect(Some(access.answer_timeout))
            .timeout_send_request(Some(access.answer_timeout))
            .timeout_recv_response(Some(access.answer_timeout))
            .timeout_per_read(Some(access.stall_timeout))
            .user_agent(concat!("carat/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self { agent: config.into(), access, home, proxies: Proxies::of_environment() })
    }

    /// The address of the Hub without a slash at its end.
    pub(super) fn endpoint(&self) -> &str {
        &self.access.endpoint
    }

    pub(super) fn has_token(&self) -> bool {
        self.access.token.is_some()
    }

    pub(super) fn stall_timeout(&self) -> Duration {
        self.access.stall_timeout
    }

    /// Sends a request and follows where it leads, until an answer leads nowhere or `is_enough`.
    ///
    /// # Errors
    /// If there is no answer at all, or no end of answers that lead on.
    pub(super) fn send(
        &self,
        method: &Method,
        url: &str,
        headers: &[(&'static str, String)],
        is_enough: fn(&HeaderMap) -> bool,
    ) -> Result<Reply, Failure> {
        let mut url = parse(url)?;
        let mut hops = Vec::new();
        loop {
            let (status, headers, body) = self.send_once(method, &url, headers)?;
            let host = host(&url).to_owned();
            let leads_on = matches!(status, 301 | 302 | 303 | 307 | 308);
            let next = headers.get(LOCATION).filter(|_| leads_on && !is_enough(&headers));
            let Some(next) = next else {
                return Ok(Reply { status, headers, hops, body, host });
            };
            if hops.len() == MOST_REDIRECTS {
                let words =
                    format!("{host} leads on without end (more than {MOST_REDIRECTS} times)");
                return Err(Failure::never(words));
            }
            let next = next.to_str().map_err(|_| no_place(&host))?;
            let next = join(&url, next).ok_or_else(|| no_place(&host))?;
            if url.scheme_str() == Some("https") && next.scheme_str() != Some("https") {
                let words = format!("{host} leads to an address that is not encrypted: {next}");
                return Err(Failure::never(words));
            }
            hops.push(headers);
            url = next;
        }
    }

    fn send_once(
        &self,
        method: &Method,
        url: &Uri,
        headers: &[(&'static str, String)],
    ) -> Result<(u16, HeaderMap, Body), Failure> {
        let mut request = Request::builder().method(method).uri(url);
        // Bytes are counted and hashed as they are in the file.
        request = request.header(ACCEPT_ENCODING, "identity");
        if let Some(token) = self.access.token.as_ref().filter(|_| is_same(url, &self.home)) {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let host = host(url);
        let request = request
            .body(())
            .map_err(|e| Failure::never(format!("{host} cannot be asked ({e})")))?;
        let proxy = self.proxies.of(url).map_err(Failure::never)?;
        let request = self.agent.configure_request(request).proxy(proxy).build();
        let response = self.agent.run(request).map_err(|e| Failure::of_connection(host, e))?;
        let (parts, body) = response.into_parts();
        Ok((parts.status.as_u16(), parts.headers, body))
    }
}

/// A part of an address with everything escaped that has a meaning there, but for slashes.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn parse(url: &str) -> Result<Uri, Failure> {
    url.parse().map_err(|_| Failure::never(format!("{url} is no address")))
}

fn host(url: &Uri) -> &str {
    url.host().unwrap_or("the Hub")
}

fn no_place(host: &str) -> Failure {
    Failure::never(format!("{host} leads to what is no address"))
}

/// Whether two addresses are of the same server.
fn is_same(a: &Uri, b: &Uri) -> bool {
    let server = |url: &Uri| {
        let scheme = url.scheme_str().unwrap_or_default().to_owned();
        let port = url.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
        (url.host().unwrap_or_default().to_ascii_lowercase(), port, scheme)
    };
    server(a) == server(b)
}

/// The address that `location` means in an answer of `base` (RFC 3986, section 5, as far as it
/// is used for redirects).
fn join(base: &Uri, location: &str) -> Option<Uri> {
    let location = location.split('#').next()?.trim();
    let (scheme, authority) = (base.scheme_str()?, base.authority()?);
    let lower = location.to_ascii_lowercase();
    let text = if lower.starts_with("http://") || lower.starts_with("https://") {
        location.to_owned()
    } else if let Some(rest) = location.strip_prefix("//") {
        format!("{scheme}://{rest}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else if location.starts_with('?') {
        format!("{scheme}://{authority}{}{location}", base.path())
    } else {
        let has_scheme = location.split(['/', '?']).next().is_some_and(|part| part.contains(':'));
        if location.is_empty() || has_scheme {
            return None;
        }
        let folder = base.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{scheme}://{authority}{folder}/{location}")
    };
    let url: Uri = text.parse().ok()?;
    url.host().is_some_and(|host| !host.is_empty()).then_some(url)
}

/// As many as the Python library follows.
const MOST_REDIRECTS: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_joined_as_browsers_do() {
        let base: Uri = "http://hub:1/a/b?c=d".parse().expect("an address");
        for (location, wanted) in [
            ("http://x/y?z#w", Some("http://x/y?z")),
            ("HTTPS://x/y", Some("https://x/y")),
            ("//x/y", Some("http://x/y")),
            ("/y", Some("http://hub:1/y")),
            ("y", Some("http://hub:1/a/y")),
            ("?q", Some("http://hub:1/a/b?q")),
            ("file:///etc/passwd", None),
            ("", None),
            ("http://", None),
            ("http://a b/", None),
        ] {
            let found = join(&base, location).map(|url| url.to_string());
            assert_eq!(found.as_deref(), wanted, "{location}");
        }
    }

    #[test]
    fn the_token_stays_with_its_server() {
        let home: Uri = "https://hub".parse().expect("an address");
        for (url, wanted) in [
            ("https://hub/a", true),
            ("https://HUB:443/a", true),
            ("http://hub/a", false),
            ("https://hub:444/a", false),
            ("https://cdn.hub/a", false),
        ] {
            assert_eq!(is_same(&url.parse().expect("an address"), &home), wanted, "{url}");
        }
    }

    #[test]
    fn names_are_escaped_as_rfc_3986_says() {
        assert_eq!(escaped("q 8/a#?%+ü~.gguf"), "q%208/a%23%3F%25%2B%C3%BC~.gguf");
    }
}
