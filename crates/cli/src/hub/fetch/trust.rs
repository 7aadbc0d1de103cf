//! Whose certificates are trusted: those of the browsers, or those in a file that the environment
//! names, as it does where a proxy reads along.

use std::fs;

use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use super::failure::{Failure, one_line};
use crate::hub::environment::text;

/// # Errors
/// If the environment names a file that has no certificates.
pub(super) fn config() -> Result<TlsConfig, Failure> {
    let named = VARIABLES.iter().find_map(|key| Some((*key, text(key)?)));
    let Some((key, file)) = named else { return Ok(TlsConfig::default()) };
    let pem = fs::read(&file)
        .map_err(|e| Failure::never(format!("{key} names {file}, which cannot be read ({e})")))?;
    let certificates: Result<Vec<Certificate<'static>>, _> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(Ok(certificate)),
            Ok(_) => None,
            Err(e) => Some(Err(e)),
        })
        .collect();
    let certificates = certificates.map_err(|e| {
        let e = one_line(&e.to_string());
        Failure::never(format!("{key} names {file}, which is no file of certificates ({e})"))
    })?;
    if certificates.is_empty() {
        return Err(Failure::never(format!("{key} names {file}, which has no certificates")));
    }
    Ok(TlsConfig::builder().root_certs(RootCerts::new_with_certs(&certificates)).build())
}

/// The names that OpenSSL, Python's requests and curl have for the same thing.
const VARIABLES: [&str; 3] = ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"];
