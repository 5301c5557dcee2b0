use super::server::{Server, Step, ranking, request};
use crate::{RankedDocument, RerankRequest, RerankResponse, ScoreSource};

#[tokio::test]
async fn rankings_models_and_what_is_sent() {
    let server = Server::start(|_| vec![Step::Send(ranking("a")), Step::Send(ranking("b"))]).await;
    let client = server
        .builder()
        .bearer_token("secret")
        .connect()
        .await
        .unwrap();

    assert_eq!(client.rerank(request()).await.unwrap().model, "a");
    let mut rankings = client.rerank_partial(request());
    assert_eq!(rankings.next().await.unwrap().unwrap().model, "a");
    assert_eq!(rankings.next().await.unwrap().unwrap().model, "b");
    assert!(rankings.next().await.is_none());
    assert!(rankings.next().await.is_none());
    let models = client.models().await.unwrap();
    assert_eq!(models[0].name, "first");
    assert_eq!(models.len(), 2);

    let [(metadata, once), (_, partial)] = &server.calls()[..] else {
        panic!("two calls")
    };
    assert_eq!(metadata.get("authorization").unwrap(), "Bearer secret");
    assert_eq!(*once, request());
    let with_partial = RerankRequest {
        partial_results: true,
        ..request()
    };
    assert_eq!(*partial, with_partial);
}

#[tokio::test]
async fn leaving_early_ends_the_call() {
    let server = Server::start(|_| vec![Step::Send(ranking("a")), Step::Hang]).await;
    let mut rankings = server.client().rerank_partial(request());
    rankings.next().await.unwrap().unwrap();
    drop(rankings);
    server.left.notified().await;
}

#[tokio::test]
async fn the_last_clone_closes_the_connection() {
    let server = Server::start(|_| vec![Step::Send(ranking("a"))]).await;
    let client = server.client();
    let clone = client.clone();
    drop(client);
    clone.rerank(request()).await.unwrap();
    drop(clone);
    server.closed.notified().await;
}

#[tokio::test]
async fn large_replies_and_values_that_are_newer() {
    let document = RankedDocument {
        id: "x".repeat(9 << 20),
        source: 99,
        ..RankedDocument::default()
    };
    let reply = RerankResponse {
        results: vec![document],
        ..ranking("a")
    };
    let server = Server::start(move |_| vec![Step::Send(reply.clone())]).await;
    let ranking = server.client().rerank(request()).await.unwrap();
    assert_eq!(ranking.results[0].source, 99);
    assert_eq!(ranking.results[0].source(), ScoreSource::Unspecified);
}

#[tokio::test]
async fn answers_that_wait_to_be_read_hold_up_no_other_call() {
    let large = ranking(&"x".repeat(8 << 20));
    let server =
        Server::start(move |_| vec![Step::Send(ranking("a")), Step::Send(large.clone())]).await;
    let client = server.client();
    let mut unread = Vec::new();
    for _ in 0..6 {
        let mut rankings = client.rerank_partial(request());
        rankings.next().await.unwrap().unwrap();
        unread.push(rankings);
    }
    client.models().await.unwrap();
}

#[tokio::test]
async fn a_socket_of_this_machine() {
    let path = std::env::temp_dir().join(format!("rerankd-rust-{}", std::process::id()));
    let server = Server::start_at(path.to_str().unwrap());
    let answer = server.client().rerank(request()).await;
    std::fs::remove_file(path).unwrap();
    assert_eq!(answer.unwrap().model, "unix");
}
