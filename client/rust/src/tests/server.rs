use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use futures_util::stream::{Stream, StreamExt, iter};
use h2::Reason;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, async_trait};

use crate::proto::rerank_service_server::{RerankService, RerankServiceServer};
use crate::proto::{ListModelsRequest, ListModelsResponse, Model, RerankRequest, RerankResponse};
use crate::{Builder, Client};

/// What the server does next in a call.
#[derive(Clone)]
pub(super) enum Step {
    Send(RerankResponse),
    Fail(Status),
    Hang,
    /// Breaks the connection.
    Cut,
    /// Breaks the call alone; in place of an answer.
    Reset(Reason),
    /// Answers as a balancer may: with an HTTP status, a content type, and no gRPC.
    Page(u16, &'static str),
}

type Script = dyn Fn(usize) -> Vec<Step> + Send + Sync;
type Answers = Pin<Box<dyn Stream<Item = Result<RerankResponse, Status>> + Send>>;

/// A server whose calls each follow a script.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) address: String,
    /// A call was ended by the client.
    pub(super) left: Arc<Notify>,
    /// A connection was.
    pub(super) closed: Arc<Notify>,
    script: Arc<Script>,
    calls: Arc<Mutex<Vec<(MetadataMap, RerankRequest)>>>,
    connections: Arc<Mutex<JoinSet<()>>>,
}

impl Server {
    /// Starts one; `script` gets the number of calls so far.
    pub(super) async fn start(script: impl Fn(usize) -> Vec<Step> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self::new(listener.local_addr().unwrap().to_string(), script);
        let accepting = server.clone();
        tokio::spawn(async move {
            loop {
                accepting.serve(listener.accept().await.unwrap().0);
            }
        });
        server
    }

    pub(super) fn start_at(path: &str) -> Self {
        let server = Self::new(format!("unix:{path}"), |_| {
            vec![Step::Send(ranking("unix"))]
        });
        let (accepting, listener) = (server.clone(), UnixListener::bind(path).unwrap());
        tokio::spawn(async move {
            loop {
                accepting.serve(listener.accept().await.unwrap().0);
            }
        });
        server
    }

    fn new(address: String, script: impl Fn(usize) -> Vec<Step> + Send + Sync + 'static) -> Self {
        Self {
            address,
            left: Arc::default(),
            closed: Arc::default(),
            script: Arc::new(script),
            calls: Arc::default(),
            connections: Arc::default(),
        }
    }

    fn serve(&self, io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
        let stub = RerankServiceServer::new(self.clone()).max_decoding_message_size(usize::MAX);
        let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let answer = stub.clone().call(request.map(Body::new));
            async move {
                let response = answer
                    .await
                    .unwrap_or_else(|never: Infallible| match never {});
                below(response)
            }
        });
        let connection =
            http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(io), service);
        let closed = self.closed.clone();
        self.connections.lock().unwrap().spawn(async move {
            let _ = connection.await;
            closed.notify_one();
        });
    }

    pub(super) fn builder(&self) -> Builder {
        Client::builder(&self.address)
    }

    pub(super) fn client(&self) -> Client {
        self.builder().lazy().unwrap()
    }

    /// The metadata and messages of the calls so far.
    pub(super) fn calls(&self) -> Vec<(MetadataMap, RerankRequest)> {
        self.calls.lock().unwrap().clone()
    }

    /// Breaks all connections.
    pub(super) fn cut(&self) {
        self.connections.lock().unwrap().abort_all();
    }

    fn follow(&self, request: Request<RerankRequest>) -> Answers {
        let (metadata, _, message) = request.into_parts();
        let mut calls = self.calls.lock().unwrap();
        let steps = (self.script)(calls.len());
        calls.push((metadata, message));
        let server = self.clone();
        Box::pin(iter(steps).then(move |step| server.clone().take(step)))
    }

    async fn take(self, step: Step) -> Result<RerankResponse, Status> {
        match step {
            Step::Send(ranking) => return Ok(ranking),
            Step::Fail(status) => return Err(status),
            Step::Reset(reason) => {
                let mut status = Status::unknown("reset");
                let metadata = status.metadata_mut();
                metadata.insert("reset", u32::from(reason).into());
                return Err(status);
            }
            Step::Page(code, content_type) => {
                let mut status = Status::unknown("page");
                let metadata = status.metadata_mut();
                metadata.insert("page", content_type.parse().unwrap());
                metadata.insert("page-status", code.into());
                return Err(status);
            }
            Step::Cut => self.cut(),
            Step::Hang => {}
        }
        let _left = Left(self.left);
        std::future::pending().await
    }
}

/// Does what gRPC knows nothing of.
fn below(response: hyper::Response<Body>) -> Result<hyper::Response<Body>, h2::Error> {
    let headers = response.headers();
    if let Some(reason) = headers.get("reset") {
        let reason: u32 = reason.to_str().unwrap().parse().unwrap();
        return Err(Reason::from(reason).into());
    }
    let Some(content_type) = headers.get("page") else {
        return Ok(response);
    };
    let page = hyper::Response::builder()
        .status(headers["page-status"].to_str().unwrap())
        .header("content-type", content_type);
    Ok(page.body(Body::new("<html>".to_owned())).unwrap())
}

struct Left(Arc<Notify>);

impl Drop for Left {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[async_trait]
impl RerankService for Server {
    type RerankStream = Answers;

    async fn rerank(&self, request: Request<RerankRequest>) -> Result<Response<Answers>, Status> {
        let mut answers = self.follow(request).peekable();
        // An error that comes first comes alone, as of a server that has not begun to answer.
        let first = Pin::new(&mut answers).peek().await.cloned();
        match first {
            Some(Err(status)) => Err(status),
            _ => Ok(Response::new(Box::pin(answers))),
        }
    }

    async fn rerank_once(
        &self,
        request: Request<RerankRequest>,
    ) -> Result<Response<RerankResponse>, Status> {
        let first = self.follow(request).next().await;
        first.expect("a step for each call").map(Response::new)
    }

    async fn list_models(
        &self,
        _: Request<ListModelsRequest>,
    ) -> Result<Response<ListModelsResponse>, Status> {
        let models = ["first", "second"].map(|name| Model {
            name: name.into(),
            ..Model::default()
        });
        Ok(Response::new(ListModelsResponse {
            models: models.into(),
        }))
    }
}

pub(super) fn ranking(model: &str) -> RerankResponse {
    RerankResponse {
        model: model.into(),
        ..RerankResponse::default()
    }
}

pub(super) fn request() -> RerankRequest {
    RerankRequest::new("why is the sky blue", ["salt", "blue skies"])
}
