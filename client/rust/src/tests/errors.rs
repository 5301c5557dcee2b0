use std::error::Error as _;
use std::time::Duration;

use tonic::metadata::MetadataMap;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::server::{Server, Step, ranking, request};
use crate::{Error, Violation};

const ADDRESS: &str = "10.0.0.1:50051";

fn read(code: Code, details: ErrorDetails) -> Error {
    Error::new(Status::with_error_details(code, "words", details), ADDRESS)
}

fn violation(field: &str, description: &str) -> Violation {
    Violation {
        field: field.into(),
        description: description.into(),
    }
}

#[test]
fn every_kind_of_detail() {
    let mut details = ErrorDetails::new();
    details
        .set_error_info("RATE_LIMITED", "rerankd", [])
        .set_retry_info(Some(Duration::from_millis(1500)))
        .add_bad_request_violation("documents[3].text", "is empty")
        .add_bad_request_violation("query", "is too long");
    let error = read(Code::ResourceExhausted, details);
    assert_eq!(error.code(), Code::ResourceExhausted);
    assert_eq!(error.to_string(), "words");
    assert_eq!(error.reason(), "RATE_LIMITED");
    assert_eq!(error.retry_after(), Some(Duration::from_millis(1500)));
    let wanted = [
        violation("documents[3].text", "is empty"),
        violation("query", "is too long"),
    ];
    assert_eq!(error.violations(), wanted);
    let source = error.source().unwrap().downcast_ref::<Status>().unwrap();
    assert_eq!(source.code(), Code::ResourceExhausted);

    let mut details = ErrorDetails::new();
    details.add_precondition_failure_violation("FAILED", "documents[1]", "no score");
    let error = read(Code::FailedPrecondition, details);
    assert_eq!(error.violations(), [violation("documents[1]", "no score")]);
    assert_eq!(error.reason(), "");
    assert_eq!(error.retry_after(), None);
}

#[test]
fn reasons_of_others_are_not_ours() {
    let details = ErrorDetails::with_error_info("QUOTA", "googleapis.com", []);
    let error = read(Code::ResourceExhausted, details);
    assert_eq!((error.reason(), error.message()), ("", "words"));
}

#[test]
fn hints_where_grpc_itself_speaks() {
    for (code, wanted) in [
        (
            Code::Unavailable,
            "cannot reach rerankd at 10.0.0.1:50051: words; is it running there? \"rerankd serve\" starts it",
        ),
        (
            Code::DeadlineExceeded,
            "rerankd at 10.0.0.1:50051 did not answer in time: words; give the call more time",
        ),
        (
            Code::ResourceExhausted,
            "words; send fewer documents at once, or raise max_message_bytes on the server",
        ),
        (
            Code::Unimplemented,
            "what listens at 10.0.0.1:50051 is no rerankd, or an older one: words",
        ),
        (Code::Internal, "words"),
    ] {
        assert_eq!(read(code, ErrorDetails::new()).message(), wanted);
        let ours = ErrorDetails::with_error_info("INTERNAL", "rerankd", []);
        assert_eq!(read(code, ours).message(), "words");
    }
    let silent = Error::new(Status::new(Code::Aborted, ""), ADDRESS);
    assert_eq!(silent.message(), Code::Aborted.to_string());
}

#[tokio::test]
async fn details_that_cannot_be_read_are_as_none() {
    let garbage = Status::with_details(Code::Internal, "words", (&b"\xff\xff"[..]).into());
    // tonic itself would panic at these.
    let mut headers = tonic::codegen::http::HeaderMap::new();
    headers.insert("grpc-status-details-bin", "%%%".parse().unwrap());
    let metadata = MetadataMap::from_headers(headers);
    let no_base64 = Status::with_metadata(Code::Internal, "words", metadata);
    for status in [garbage, no_base64] {
        let server = Server::start(move |number| match number {
            0 => vec![Step::Fail(status.clone())],
            _ => vec![Step::Send(ranking("a")), Step::Fail(status.clone())],
        });
        let server = server.await;
        let client = server.client();
        let at_once = client.rerank(request()).await.unwrap_err();
        let mut rankings = client.rerank_partial(request());
        rankings.next().await.unwrap().unwrap();
        let at_the_end = rankings.next().await.unwrap().unwrap_err();
        assert!(rankings.next().await.is_none());
        for error in [at_once, at_the_end] {
            assert_eq!((error.code(), error.message()), (Code::Internal, "words"));
            assert_eq!((error.reason(), error.violations()), ("", &[][..]));
        }
    }
}
