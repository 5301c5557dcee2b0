//! On a clock that stands still unless all wait, so that nobody does.

use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use super::server::request;
use crate::{Builder, Client, Code};

/// A listener with as many connections as the system lets wait for it; no other gets through.
fn full() -> (TcpListener, Vec<TcpStream>, String) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap().into_std().unwrap();
    let address = listener.local_addr().unwrap();
    let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok();
    let waiting = std::iter::from_fn(connect).collect();
    (listener, waiting, address.to_string())
}

/// Fails with `code` each time that it tries to connect.
async fn assert_gives_up(builder: impl Fn() -> Builder) {
    let client = builder().lazy().unwrap();
    for _ in 0..2 {
        let error = client.rerank(request()).await.unwrap_err();
        assert_eq!(error.code(), Code::Unavailable, "{error}");
    }
    let error = builder().connect().await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    let hasty = builder().timeout(Duration::from_secs(5)).connect().await;
    assert_eq!(hasty.unwrap_err().code(), Code::DeadlineExceeded);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_hangs_is_given_up() {
    let (_listener, _waiting, address) = full();
    assert_gives_up(|| Client::builder(&address)).await;
}

#[cfg(feature = "tls")]
#[tokio::test(start_paused = true)]
async fn a_handshake_that_hangs_is_given_up() {
    // The system connects; nobody speaks.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    // Longer than any call may take.
    let tls = crate::ClientTlsConfig::new().timeout(Duration::from_secs(3600));
    assert_gives_up(|| Client::builder(&address).tls(tls.clone())).await;
}
