use crate::{Client, Code};

fn refusal(address: &str) -> Option<String> {
    let error = Client::builder(address).lazy().err()?;
    assert_eq!(error.code(), Code::InvalidArgument);
    Some(error.message().to_owned())
}

#[tokio::test]
async fn takes_hosts_with_ports_and_sockets() {
    for address in [
        "127.0.0.1:50051",
        "[::1]:1",
        "localhost:1",
        "rerankd.example:1",
        "unix:/run/x",
    ] {
        assert_eq!(refusal(address), None, "{address}");
    }
}

#[tokio::test]
async fn says_what_to_write_in_place_of_a_url() {
    for scheme in ["http", "https", "grpc", "grpcs", "tcp", "ws", "wss"] {
        let address = format!("{scheme}://127.0.0.1:50051");
        let wanted = format!(
            "address {address:?}: give host:port or unix:/path, without {scheme}://; TLS is an option \
             of the client"
        );
        assert_eq!(refusal(&address), Some(wanted));
    }
    for address in [
        "",
        "localhost",
        "localhost:",
        "me@localhost:1",
        "localhost:1/path",
        "a b:1",
    ] {
        let wanted = format!("address {address:?}: give host:port or unix:/path");
        assert_eq!(refusal(address), Some(wanted));
    }
}

#[tokio::test]
async fn tokens_stay_on_this_machine_without_tls() {
    let with_token = |address: &str| Client::builder(address).bearer_token("secret").lazy();
    for address in [
        "127.0.0.1:1",
        "127.8.9.1:1",
        "[::1]:1",
        "localhost:1",
        "unix:/run/x",
    ] {
        assert!(with_token(address).is_ok(), "{address}");
    }
    for address in [
        "rerankd.example:1",
        "10.0.0.1:1",
        "127.0.0.1.example:1",
        "localhost.example:1",
    ] {
        let error = with_token(address).unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{address}");
        assert!(!error.message().contains("secret"));
        #[cfg(feature = "tls")]
        Client::builder(address)
            .tls(crate::ClientTlsConfig::new())
            .bearer_token("secret")
            .lazy()
            .unwrap();
    }
    let kept = Client::builder("localhost:1").bearer_token("secret");
    assert!(kept.bearer().unwrap().unwrap().is_sensitive());
    let builder = Client::builder("localhost:1").bearer_token("not\na header");
    assert!(
        builder
            .lazy()
            .unwrap_err()
            .message()
            .starts_with("bearer token: ")
    );
}
