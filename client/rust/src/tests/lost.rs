use std::error::Error as _;
use std::time::Duration;

use h2::Reason;
use tonic::Status;

use super::server::{Server, Step, ranking, request};
use crate::{Client, Code, Error};

fn assert_lost(error: &Error, address: &str) {
    assert_eq!(error.code(), Code::Unavailable, "{error:?}");
    let start = format!("cannot reach rerankd at {address}: ");
    assert!(error.message().starts_with(&start), "{error}");
    let status = error.source().unwrap().downcast_ref::<Status>().unwrap();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.source().is_some());
}

#[tokio::test]
async fn nobody_listens() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let client = Client::builder(&address).lazy().unwrap();
    let refused = client.rerank(request()).await.unwrap_err();
    assert_lost(&refused, &address);
    assert!(refused.message().contains("refused"), "{refused}");
    let partial = client.rerank_partial(request()).next().await.unwrap();
    assert_lost(&partial.unwrap_err(), &address);
    let connecting = Client::builder(&address).connect().await;
    assert_lost(&connecting.unwrap_err(), &address);
}

#[tokio::test]
async fn a_connection_that_breaks_before_the_answer() {
    let server = Server::start(|number| match number {
        0 => vec![Step::Cut],
        _ => vec![Step::Send(ranking("back"))],
    })
    .await;
    let client = server.client();
    let error = client.rerank(request()).await.unwrap_err();
    assert_lost(&error, &server.address);
    assert_eq!(client.rerank(request()).await.unwrap().model, "back");
}

#[tokio::test]
async fn a_connection_that_breaks_in_the_middle() {
    let server = Server::start(|_| vec![Step::Send(ranking("a")), Step::Hang]).await;
    let mut rankings = server.client().rerank_partial(request());
    rankings.next().await.unwrap().unwrap();
    server.cut();
    let error = rankings.next().await.unwrap().unwrap_err();
    assert_lost(&error, &server.address);
    assert!(rankings.next().await.is_none());
}

#[tokio::test]
async fn a_call_that_is_reset_is_no_lost_connection() {
    for (reason, wanted) in [
        (Reason::REFUSED_STREAM, Code::Unavailable),
        (Reason::CANCEL, Code::Cancelled),
        (Reason::ENHANCE_YOUR_CALM, Code::ResourceExhausted),
        (Reason::INADEQUATE_SECURITY, Code::PermissionDenied),
        (Reason::INTERNAL_ERROR, Code::Internal),
    ] {
        let server = Server::start(move |_| vec![Step::Reset(reason)]).await;
        let error = server.client().rerank(request()).await.unwrap_err();
        assert_eq!(error.code(), wanted, "{error}");
    }
}

#[tokio::test]
async fn keepalive_finds_a_server_that_is_gone() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let short = Duration::from_millis(20);
    let client = Client::builder(&address).keepalive(short, short).lazy();
    let error = client.unwrap().rerank(request()).await.unwrap_err();
    assert_lost(&error, &address);
}
