//! What lies between tonic's channel and the stub, and what tonic makes of a connection that fails.

use std::error::Error as StdError;
use std::sync::Arc;
use std::task::{Context, Poll};

use http_body_util::BodyExt;
use tonic::body::Body;
use tonic::codegen::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use tonic::codegen::http::{Request, Response, StatusCode};
use tonic::codegen::{BoxFuture, Service};
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Error};
use tonic::{Code, Status, TimeoutExpired};

use crate::error::{causes, words};

/// The channel, with the caller's token on the way out and readable details on the way in.
#[derive(Clone)]
pub(crate) struct Transport {
    channel: Channel,
    token: Option<HeaderValue>,
}

impl Transport {
    pub(crate) fn new(channel: Channel, token: Option<HeaderValue>) -> Self {
        Self { channel, token }
    }
}

impl Service<Request<Body>> for Transport {
    type Response = Response<Body>;
    type Error = Error;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.channel.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if let Some(token) = &self.token {
            request.headers_mut().insert(AUTHORIZATION, token.clone());
        }
        let answer = self.channel.call(request);
        Box::pin(async move {
            let (mut parts, body) = answer.await?.into_parts();
            drop_unreadable(&mut parts.headers);
            // A page from a balancer is not for tonic to decode: without one it reads the headers.
            if parts.status != StatusCode::OK {
                return Ok(Response::from_parts(parts, Body::empty()));
            }
            if let Some(status) = foreign(&parts.headers) {
                return Ok(status.into_http());
            }
            let body = body.map_frame(|mut frame| {
                frame.trailers_mut().map(drop_unreadable);
                frame
            });
            Ok(Response::from_parts(parts, Body::new(body)))
        })
    }
}

/// Names what an answer is that is not gRPC, in grpc-go's words.
fn foreign(headers: &HeaderMap) -> Option<Status> {
    let named = headers
        .get(CONTENT_TYPE)
        .map_or(&b""[..], HeaderValue::as_bytes);
    match named.strip_prefix(b"application/grpc") {
        Some([] | [b'+' | b';', ..]) => None,
        _ => Some(Status::unknown(format!(
            "received unexpected content-type {:?}",
            String::from_utf8_lossy(named)
        ))),
    }
}

/// tonic panics where the details are not base64.
fn drop_unreadable(headers: &mut HeaderMap) {
    const DETAILS: &str = "grpc-status-details-bin";
    let metadata = MetadataMap::from_headers(std::mem::take(headers));
    let details = metadata.get_bin(DETAILS);
    let unreadable = details.is_some_and(|value| value.to_bytes().is_err());
    *headers = metadata.into_headers();
    if unreadable {
        headers.remove(DETAILS);
    }
}

/// Gives the code that gRPC's own clients give where a call broke on the way: tonic says Unknown or
/// Cancelled, and has the cause as source. What the server said has none.
pub(crate) fn as_grpc_says(status: Status) -> Status {
    let Some(cause) = status.source() else {
        return status;
    };
    if cause.is::<Status>() {
        return status;
    }
    let code = causes(cause).find_map(code).unwrap_or(Code::Unavailable);
    let mut said = Status::new(code, words(cause));
    said.set_source(Arc::new(status));
    said
}

fn code(cause: &(dyn StdError + 'static)) -> Option<Code> {
    if cause.is::<TimeoutExpired>() {
        return Some(Code::DeadlineExceeded);
    }
    // Only a stream that was reset, and not its connection, says something about the call.
    let reset = cause.downcast_ref::<h2::Error>()?;
    if !reset.is_reset() {
        return None;
    }
    Some(match reset.reason()? {
        h2::Reason::REFUSED_STREAM => Code::Unavailable,
        h2::Reason::CANCEL => Code::Cancelled,
        h2::Reason::ENHANCE_YOUR_CALM => Code::ResourceExhausted,
        h2::Reason::INADEQUATE_SECURITY => Code::PermissionDenied,
        _ => Code::Internal,
    })
}
