use std::time::Duration;

use super::server::{Server, Step, ranking, request};
use crate::{Code, Error, RETRYING};

const SHORT: Duration = Duration::from_millis(50);

fn assert_late(error: &Error) {
    assert_eq!(error.code(), Code::DeadlineExceeded, "{error:?}");
    assert!(
        error.message().ends_with("; give the call more time"),
        "{error}"
    );
}

#[tokio::test]
async fn a_server_that_says_nothing() {
    for config in ["{}", RETRYING] {
        let server = Server::start(|_| vec![Step::Hang]).await;
        let client = server.builder().timeout(SHORT).service_config(config);
        let client = client.lazy().unwrap();
        assert_late(&client.rerank(request()).await.unwrap_err());
        server.left.notified().await;
        let mut rankings = client.rerank_partial(request());
        assert_late(&rankings.next().await.unwrap().unwrap_err());
        assert!(rankings.next().await.is_none());
    }
}

#[tokio::test]
async fn a_server_that_falls_silent() {
    let server = Server::start(|_| vec![Step::Send(ranking("a")), Step::Hang]).await;
    // Room for the first ranking on a busy machine: tonic's own timer ends there.
    let client = server.client().with_timeout(Duration::from_millis(500));
    let mut rankings = client.rerank_partial(request());
    rankings.next().await.unwrap().unwrap();
    assert_late(&rankings.next().await.unwrap().unwrap_err());
    assert!(rankings.next().await.is_none());
    server.left.notified().await;
}

#[tokio::test]
async fn the_server_is_told() {
    let server = Server::start(|_| vec![Step::Send(ranking("a"))]).await;
    let client = server.client();
    let own = server
        .builder()
        .timeout(Duration::from_secs(20))
        .lazy()
        .unwrap();
    client.rerank(request()).await.unwrap();
    own.rerank(request()).await.unwrap();
    client
        .with_timeout(Duration::from_secs(10))
        .rerank(request())
        .await
        .unwrap();
    client
        .with_timeout(Duration::MAX)
        .rerank(request())
        .await
        .unwrap();
    let told: Vec<_> = server
        .calls()
        .iter()
        .map(|(metadata, _)| {
            let microseconds = metadata.get("grpc-timeout")?.to_str().unwrap();
            let microseconds: f64 = microseconds.strip_suffix('u').unwrap().parse().unwrap();
            Some((microseconds / 1e7).ceil() * 10.0)
        })
        .collect();
    assert_eq!(told, [Some(60.0), Some(20.0), Some(10.0), None]);
}
