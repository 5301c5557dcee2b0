use std::cell::RefCell;
use std::time::Duration;

use tokio::time::Instant;
use tonic::{Code, Status};

use super::server::{Server, Step, ranking, request};
use crate::call::{Call, Deadline};
use crate::retry::{Policies, Policy};
use crate::{Client, RETRYING, RerankRequest};

fn policy() -> Policy {
    Policies::read(RETRYING)
        .unwrap()
        .of("Rerank")
        .unwrap()
        .clone()
}

fn pushback(wait: &str) -> Status {
    let mut status = Status::unavailable("away");
    let metadata = status.metadata_mut();
    metadata.insert("grpc-retry-pushback-ms", wait.parse().unwrap());
    status
}

/// Fails the tries of a call with `failures` each, then answers; gives the waits between them, in
/// milliseconds of a clock that stands still unless all wait.
async fn waits(timeout: u64, failures: Vec<Status>) -> (Vec<u128>, Result<(), Status>) {
    let (starts, failures) = (RefCell::default(), RefCell::new(failures.into_iter()));
    let policy = policy();
    let call = Call {
        deadline: Deadline::after(Duration::from_secs(timeout)),
        policy: Some(&policy),
    };
    let answer = call.run((), |request| {
        let previous = request.metadata().get("grpc-previous-rpc-attempts");
        let previous = previous.map_or(0, |value| value.to_str().unwrap().parse().unwrap());
        let mut starts: std::cell::RefMut<Vec<Instant>> = starts.borrow_mut();
        assert_eq!(previous, starts.len());
        starts.push(Instant::now());
        let failure = failures.borrow_mut().next();
        async move { failure.map_or(Ok(()), Err) }
    });
    let answer = answer.await;
    let starts = starts.into_inner();
    let waits = starts
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).as_millis());
    (waits.collect(), answer)
}

#[tokio::test(start_paused = true)]
async fn waits_longer_each_time() {
    let (waits, answer) = waits(60, vec![Status::unavailable("away"); 9]).await;
    assert_eq!(answer.unwrap_err().message(), "away");
    assert_eq!(waits.len(), 3);
    for (wait, about) in waits.into_iter().zip([100, 200, 400]) {
        assert!(
            (about * 8 / 10..=about * 12 / 10 + 2).contains(&wait),
            "{wait} for {about}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn waits_exactly_as_told() {
    let (waits, answer) = waits(60, vec![pushback("7000"), pushback("0")]).await;
    answer.unwrap();
    assert!(
        (7000..7003).contains(&waits[0]) && waits[1] < 3,
        "{waits:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn does_not_try_again_when_told_so_or_when_it_cannot_help() {
    let refused = Status::invalid_argument("words");
    for failure in [pushback("-1"), pushback("soon"), pushback(""), refused] {
        let (waits, answer) = waits(60, vec![failure.clone()]).await;
        assert_eq!(waits, []);
        assert_eq!(answer.unwrap_err().message(), failure.message());
    }
}

#[tokio::test(start_paused = true)]
async fn does_not_wait_for_longer_than_it_has() {
    let start = Instant::now();
    let (waits, answer) = waits(5, vec![pushback("3000"), pushback("3000")]).await;
    assert_eq!(waits.len(), 1);
    assert_eq!(answer.unwrap_err().code(), Code::Unavailable);
    assert!(start.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn only_with_a_policy_and_large_requests_too() {
    let server = Server::start(|number| match number % 2 {
        0 => vec![Step::Fail(Status::unavailable("away"))],
        _ => vec![Step::Send(ranking("back"))],
    })
    .await;
    let retrying = server.builder().service_config(RETRYING).lazy().unwrap();
    let large = RerankRequest::new("why is the sky blue", ["x".repeat(2 << 20)]);
    assert_eq!(retrying.rerank(large.clone()).await.unwrap().model, "back");
    let mut rankings = retrying.rerank_partial(large.clone());
    assert_eq!(rankings.next().await.unwrap().unwrap().model, "back");
    let calls = server.calls();
    assert_eq!(calls.len(), 4);
    assert_eq!(calls[1].1, large);
    assert_eq!(calls[3].1.documents, large.documents);

    let error = server.client().rerank(request()).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    assert_eq!(server.calls().len(), 5);
}

#[tokio::test]
async fn no_stream_begins_twice() {
    let away = Step::Fail(Status::unavailable("away"));
    let server = Server::start(move |_| vec![Step::Send(ranking("a")), away.clone()]).await;
    let client = server.builder().service_config(RETRYING).lazy().unwrap();
    let mut rankings = client.rerank_partial(request());
    rankings.next().await.unwrap().unwrap();
    let error = rankings.next().await.unwrap().unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    assert_eq!(server.calls().len(), 1);
}

#[test]
fn reads_what_is_shipped() {
    let wanted = Policy {
        max_attempts: 4,
        initial_backoff: Duration::from_millis(100),
        max_backoff: Duration::from_secs(2),
        backoff_multiplier: 2.0,
        retryable: vec![Code::Unavailable, Code::ResourceExhausted],
    };
    assert_eq!(policy(), wanted);
}

fn config(name: &str, attempts: &str, codes: &str) -> String {
    format!(
        r#"{{"name": [{name}], "retryPolicy": {{"maxAttempts": {attempts}, "initialBackoff": "1s",
        "maxBackoff": "1s", "backoffMultiplier": 1, "retryableStatusCodes": {codes}}}}}"#
    )
}

#[test]
fn the_nearest_name_counts() {
    let service = r#"{"service": "rerankd.v1.RerankService"}"#;
    let method = r#"{"service": "rerankd.v1.RerankService", "method": "Rerank"}"#;
    let other = r#"{"service": "another.Service"}"#;
    let each = [("{}", "2"), (other, "5"), (service, "3"), (method, "4")];
    let each = each.map(|(name, attempts)| config(name, attempts, r#"[14, "deadline_exceeded"]"#));
    let attempts = |configs: &[String], method| {
        let json = format!(r#"{{"methodConfig": [{}]}}"#, configs.join(","));
        let policies = Policies::read(&json).unwrap();
        policies.of(method).map(|policy| policy.max_attempts)
    };
    assert_eq!(attempts(&each, "Rerank"), Some(4));
    assert_eq!(attempts(&each, "RerankOnce"), Some(3));
    assert_eq!(attempts(&each[..2], "RerankOnce"), Some(2));
    assert_eq!(attempts(&each[1..2], "RerankOnce"), None);
}

#[tokio::test]
async fn refuses_what_is_no_service_config() {
    let with =
        |attempts, codes| format!(r#"{{"methodConfig": [{}]}}"#, config("{}", attempts, codes));
    let codes = r#"["UNAVAILABLE"]"#;
    for json in [
        "{",
        "[]",
        &with("1", codes),
        &with(r#""4""#, codes),
        &with("4", "[]"),
        &with("4", r#"["NO_SUCH_CODE"]"#),
        &with("4", "[99]"),
    ] {
        let error = Client::builder("localhost:1")
            .service_config(json)
            .lazy()
            .unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
        assert!(error.message().starts_with("service config: "), "{error}");
    }
    let capped = Policies::read(&with("9", codes)).unwrap();
    assert_eq!(capped.of("Rerank").unwrap().max_attempts, 5);
}
