//! Who may speak at all.
//!
//! The API listens on loopback, where every program of this machine and every
//! page in its browsers can reach it. Programs are told apart by the token.
//! Pages are kept out twice over: the `Host` header must name this machine,
//! which defeats rebound DNS names, and a request that a page of another site
//! caused is refused by its `Origin` or `Sec-Fetch-Site`.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, header};
use axum::middleware::Next;
use axum::response::Response;

use super::fault::{Code, Fault};
use crate::suggest::shown;
use crate::token::Token;

/// Knows the token by its hash.
pub(super) struct Guard {
    // Comparing hashes takes the same time whatever was sent.
    token: blake3::Hash,
}

impl Guard {
    pub(super) fn new(token: &Token) -> Self {
        Self {
            token: blake3::hash(token.as_str().as_bytes()),
        }
    }

    fn check_token(&self, headers: &HeaderMap) -> Result<(), Fault> {
        const ADVICE: &str = "send `Authorization: Bearer TOKEN` with the content of the file \
                              `api.token` in the node's data directory";
        let Some(value) = text(headers, &header::AUTHORIZATION)? else {
            let fault = Fault::new(Code::Unauthorized, "the request has no token");
            return Err(fault.suggest(ADVICE));
        };
        let token = match value.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
            _ => {
                let fault =
                    Fault::new(Code::Unauthorized, "the request's token is no bearer token");
                return Err(fault.suggest(ADVICE));
            }
        };
        if blake3::hash(token.as_bytes()) == self.token {
            return Ok(());
        }
        let fault = Fault::new(Code::Unauthorized, "the token is not this node's");
        Err(fault.suggest(ADVICE))
    }
}

/// Passes requests that carry the token.
pub(super) async fn authorize(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Result<Response, Fault> {
    guard.check_token(request.headers())?;
    Ok(next.run(request).await)
}

/// Passes requests that no page of another site can have caused.
pub(super) async fn same_site(request: Request, next: Next) -> Result<Response, Fault> {
    check_site(request.headers())?;
    Ok(next.run(request).await)
}

fn check_site(headers: &HeaderMap) -> Result<(), Fault> {
    let Some(host) = text(headers, &header::HOST)? else {
        return Err(Fault::invalid("the request has no Host header"));
    };
    if !is_this_machine(host) {
        let fault = Fault::new(
            Code::Forbidden,
            format!("the Host `{}` is not this machine", shown(host)),
        );
        return Err(fault.suggest("address the API as 127.0.0.1, [::1] or localhost"));
    }
    if let Some(origin) = text(headers, &header::ORIGIN)?
        && origin.strip_prefix("http://") != Some(host)
    {
        return Err(Fault::new(
            Code::Forbidden,
            format!("the request comes from a page of `{}`", shown(origin)),
        ));
    }
    match text(headers, &HeaderName::from_static("sec-fetch-site"))? {
        None | Some("same-origin" | "none") => Ok(()),
        Some(_) => Err(Fault::new(
            Code::Forbidden,
            "the request comes from a page of another site",
        )),
    }
}

/// Whether a `Host` header's value names this machine, with or without a port.
fn is_this_machine(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
        .unwrap_or(name);
    name.eq_ignore_ascii_case("localhost")
        || address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// A header that may occur once.
fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Fault> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Fault::invalid(format!("the header `{name}` occurs twice")));
    }
    value
        .to_str()
        .map(Some)
        .map_err(|_| Fault::invalid(format!("the header `{name}` is no plain text")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_hosts_are_this_machine() {
        for host in [
            "127.0.0.1:7400",
            "127.0.0.1",
            "[::1]:7400",
            "[::1]",
            "localhost:1",
            "LOCALHOST",
        ] {
            assert!(is_this_machine(host), "{host}");
        }
        for host in [
            "example.org",
            "127.0.0.1.example.org:7400",
            "10.0.0.1",
            "localhost.example",
            "",
        ] {
            assert!(!is_this_machine(host), "{host}");
        }
    }
}
