//! `phoenix token`

use std::net::SocketAddr;
use std::time::Duration;

use crate::args;
use crate::error::{CliError, Exit};
use crate::output::remark;
use crate::session::Session;

/// Arguments of `phoenix token`.
#[derive(Debug, clap::Args)]
pub(crate) struct TokenArgs {
    /// How long the token may be used
    #[arg(long, value_name = "SPAN", default_value = "1h", value_parser = args::span)]
    valid_for: Duration,
}

pub(crate) async fn run(args: &TokenArgs, node: &mut Session) -> Result<Exit, CliError> {
    let token = node.client.join_token(args.valid_for).await?;
    // The token is good whether or not this can be said of it.
    let address = node.client.nodes().await.ok().and_then(|list| {
        let mut first = list.nodes.into_iter().filter(|node| node.directory);
        first.next().map(|node| node.address)
    });
    let local = address.as_deref().is_some_and(is_local);
    if node.json {
        node.out.json(&serde_json::json!({
            "token": token.token,
            "valid_for_ms": token.valid_for_ms,
            "address": address,
            "this_machine_only": local,
        }))?;
    } else {
        node.out.line(&token.token)?;
    }
    if let (true, Some(address)) = (local, address) {
        node.out.flush()?;
        remark(&format!(
            "only nodes of this machine can join with it: this node listens on {address}. For \
             others, start it with `--listen 0.0.0.0:7401 --advertise HOST:7401`, HOST being its \
             address for them"
        ));
    }
    Ok(Exit::Ok)
}

/// Whether `host:port` is dialled from its own machine alone.
fn is_local(address: &str) -> bool {
    if let Ok(address) = address.parse::<SocketAddr>() {
        return address.ip().is_loopback();
    }
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_this_machine() {
        for local in [
            "127.0.0.1:7401",
            "127.1.2.3:1",
            "[::1]:7401",
            "localhost:7401",
        ] {
            assert!(is_local(local), "{local}");
        }
        for other in ["10.0.0.5:7401", "[fd00::1]:7401", "node.example:7401", ""] {
            assert!(!is_local(other), "{other}");
        }
    }
}
