//! Where a server is, as callers write it.

use std::net::IpAddr;

use tonic::codegen::http::uri::Authority;
use tonic::transport::Endpoint;

use crate::Error;

const SCHEMES: [&str; 7] = ["http", "https", "grpc", "grpcs", "tcp", "ws", "wss"];

/// Reads `host:port` or `unix:/path`.
pub(crate) fn endpoint(address: &str, tls: bool) -> Result<Endpoint, Error> {
    let target = if address.starts_with("unix:") {
        address.to_owned()
    } else if host(address).is_some() {
        format!("{}://{address}", if tls { "https" } else { "http" })
    } else {
        return Err(refusal(address));
    };
    Endpoint::from_shared(target).map_err(|_| refusal(address))
}

/// Whether what is sent there stays on this machine.
pub(crate) fn is_local(address: &str) -> bool {
    let Some(host) = host(address) else {
        return address.starts_with("unix:");
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

fn host(address: &str) -> Option<String> {
    let authority: Authority = address.parse().ok()?;
    let plain = authority.port_u16().is_some() && !address.contains('@');
    plain.then(|| authority.host().to_owned())
}

fn refusal(address: &str) -> Error {
    let scheme = address.split_once("://").map(|(scheme, _)| scheme);
    let without = match scheme.map(str::to_ascii_lowercase) {
        Some(scheme) if SCHEMES.contains(&scheme.as_str()) => {
            format!(", without {scheme}://; TLS is an option of the client")
        }
        _ => String::new(),
    };
    Error::refused(format!(
        "address {address:?}: give host:port or unix:/path{without}"
    ))
}
