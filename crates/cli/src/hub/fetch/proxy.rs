//! The proxy for an address, from the variables that other programs ask for it as well:
//! `HTTPS_PROXY` and `HTTP_PROXY` by the scheme, `ALL_PROXY` for both, `NO_PROXY` for exceptions,
//! each in small letters first, as curl reads them.

use ureq::Proxy;
use ureq::http::Uri;

use crate::hub::environment::text;

/// The proxies of this process.
#[derive(Debug)]
pub(super) struct Proxies {
    https: Option<Setting>,
    http: Option<Setting>,
    /// Hosts that are reached without one.
    except: Vec<String>,
}

#[derive(Clone, Debug)]
struct Setting {
    /// The variable that it is from.
    key: String,
    /// `None` if it cannot be understood.
    proxy: Option<Proxy>,
}

impl Proxies {
    pub(super) fn of_environment() -> Self {
        let any = setting("ALL_PROXY");
        let except = value("NO_PROXY").map(|(_, hosts)| hosts).unwrap_or_default();
        let except = except.split([',', ' ']).map(|host| host.trim().to_ascii_lowercase());
        Self {
            https: setting("HTTPS_PROXY").or_else(|| any.clone()),
            http: setting("HTTP_PROXY").or(any),
            except: except.filter(|host| !host.is_empty()).collect(),
        }
    }

    /// The proxy for `url`, if there is to be one.
    ///
    /// # Errors
    /// With the variable's name, if it cannot be understood.
    pub(super) fn of(&self, url: &Uri) -> Result<Option<Proxy>, String> {
        let is_https = url.scheme_str() == Some("https");
        let Some(setting) = (if is_https { &self.https } else { &self.http }) else {
            return Ok(None);
        };
        let port = url.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        if is_excepted(&self.except, url.host().unwrap_or_default(), port) {
            return Ok(None);
        }
        match &setting.proxy {
            Some(proxy) => Ok(Some(proxy.clone())),
            None => Err(format!(
                "{} is no address of a proxy: it should be like http://host:port",
                setting.key
            )),
        }
    }
}

fn setting(key: &str) -> Option<Setting> {
    let (key, value) = value(key)?;
    Some(Setting { key, proxy: Proxy::new(value.trim()).ok() })
}

fn value(key: &str) -> Option<(String, String)> {
    [key.to_ascii_lowercase(), key.to_owned()]
        .into_iter()
        .find_map(|key| text(&key).map(|value| (key, value)))
}

/// Whether a list names a host, a domain that it is in, or all of them.
fn is_excepted(list: &[String], host: &str, port: u16) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    list.iter().any(|entry| {
        let (name, entry_port) = match entry.rsplit_once(':') {
            // More than one colon is an address of IPv6 without a port.
            Some((name, port)) if !name.contains(':') || name.ends_with(']') => {
                (name, port.parse().ok())
            }
            _ => (entry.as_str(), None),
        };
        let name = name.trim_start_matches('[').trim_end_matches(']');
        let domain = name.trim_start_matches('*').trim_start_matches('.');
        let is_inside = host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
        let is_meant = name == "*" || (!domain.is_empty() && (host == domain || is_inside));
        is_meant && entry_port.is_none_or(|wanted: u16| wanted == port)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_are_hosts_and_domains() {
        let list = ["example.org", ".inside", "*.star", "[::1]", "fe80::1", "ported:8080"];
        let list = list.map(str::to_owned);
        for (host, port, wanted) in [
            ("example.org", 443, true),
            ("hub.example.org", 443, true),
            ("EXAMPLE.org", 443, true),
            ("badexample.org", 443, false),
            ("a.inside", 80, true),
            ("inside", 80, true),
            ("a.star", 80, true),
            ("[::1]", 80, true),
            ("fe80::1", 80, true),
            ("ported", 8080, true),
            ("ported", 80, false),
            ("other", 80, false),
        ] {
            assert_eq!(is_excepted(&list, host, port), wanted, "{host}:{port}");
        }
        assert!(is_excepted(&["*".to_owned()], "any", 1));
        assert!(!is_excepted(&[".".to_owned()], "any", 1));
    }
}
