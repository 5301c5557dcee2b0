use super::server::{Server, Step, ranking, request};
use crate::{Code, RETRYING};

#[tokio::test]
async fn pages_are_not_decoded() {
    for (status, content_type, code, words) in [
        (502, "text/html", Code::Unavailable, "502"),
        (404, "text/html", Code::Unimplemented, "404"),
        (200, "text/html", Code::Unknown, r#""text/html""#),
        (200, "", Code::Unknown, r#""""#),
        (200, "application/grpc-web", Code::Unknown, "grpc-web"),
        // What calls itself gRPC is.
        (200, "application/grpc", Code::Internal, "protocol error"),
        (
            200,
            "application/grpc;v=1",
            Code::Internal,
            "protocol error",
        ),
        (
            200,
            "application/grpc+proto",
            Code::Internal,
            "protocol error",
        ),
    ] {
        let server = Server::start(move |_| vec![Step::Page(status, content_type)]).await;
        let client = server.client();
        let once = client.rerank(request()).await.unwrap_err();
        let partial = client.rerank_partial(request()).next().await.unwrap();
        for error in [once, partial.unwrap_err()] {
            assert_eq!(error.code(), code, "{error}");
            assert!(error.message().contains(words), "{error}");
        }
    }
}

#[tokio::test]
async fn a_balancer_without_a_server_is_tried_again() {
    let server = Server::start(|number| match number {
        0 => vec![Step::Page(502, "text/html")],
        _ => vec![Step::Send(ranking("back"))],
    })
    .await;
    let client = server.builder().service_config(RETRYING).lazy().unwrap();
    assert_eq!(client.rerank(request()).await.unwrap().model, "back");
}
