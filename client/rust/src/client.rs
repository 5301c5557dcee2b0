//! The client, and the stream of rankings.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{Stream, StreamExt, TryStreamExt, iter, once, try_unfold};
use tonic::Status;

use crate::call::{Call, Deadline};
use crate::proto::rerank_service_client::RerankServiceClient;
use crate::proto::{ListModelsRequest, Model, RerankRequest, RerankResponse};
use crate::retry::Policies;
use crate::transport::Transport;
use crate::{Builder, Error};

/// A client of one server. Clones are cheap, and share its connection.
#[derive(Clone)]
pub struct Client {
    stub: RerankServiceClient<Transport>,
    address: Arc<str>,
    timeout: Duration,
    policies: Arc<Policies>,
}

impl Client {
    /// Sets up a client of the server at `address`: `host:port`, as [`crate::ADDRESS`], or `unix:/path`.
    pub fn builder(address: impl Into<String>) -> Builder {
        Builder::new(address.into())
    }

    pub(crate) fn new(
        transport: Transport,
        address: Arc<str>,
        timeout: Duration,
        policies: Arc<Policies>,
    ) -> Self {
        // The server bounds messages and says so in words; a second bound here would only hide them.
        let stub = RerankServiceClient::new(transport).max_decoding_message_size(usize::MAX);
        Self {
            stub,
            address,
            timeout,
            policies,
        }
    }

    /// The same client with another timeout, for calls that need their own.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self {
            timeout,
            ..self.clone()
        }
    }

    /// Ranks the request's documents.
    ///
    /// # Errors
    /// What the server answers, and `Unavailable` or `DeadlineExceeded` where it does not.
    pub async fn rerank(&self, request: RerankRequest) -> Result<RerankResponse, Error> {
        self.call("RerankOnce")
            .run(request, |request| {
                let mut stub = self.stub.clone();
                async move { Ok(stub.rerank_once(request).await?.into_inner()) }
            })
            .await
            .map_err(|status| Error::new(status, &self.address))
    }

    /// Gives better and better rankings, each of them whole; the last has `is_final` set. Dropping
    /// it ends the call, which begins when the first ranking is asked for.
    pub fn rerank_partial(&self, mut request: RerankRequest) -> Rankings {
        request.partial_results = true;
        let client = self.clone();
        let opening = async move {
            let call = client.call("Rerank");
            let deadline = call.deadline;
            let open = |request| {
                let mut stub = client.stub.clone();
                async move {
                    let mut answers = stub.rerank(request).await?.into_inner();
                    Ok((answers.message().await?, answers))
                }
            };
            let (first, answers) = call.run(request, open).await?;
            let rest = try_unfold(answers, move |mut answers| async move {
                let message = deadline.bound(answers.message()).await?;
                Ok(message.map(|message| (message, answers)))
            });
            Ok::<_, Status>(iter(first.map(Ok)).chain(rest))
        };
        let address = self.address.clone();
        let error = move |status: Status| Error::new(status, &address);
        Rankings(Box::pin(once(opening).try_flatten().map_err(error)))
    }

    /// Lists the models that a request may name, the default first.
    ///
    /// # Errors
    /// The same as [`Client::rerank`].
    pub async fn models(&self) -> Result<Vec<Model>, Error> {
        self.call("ListModels")
            .run(ListModelsRequest {}, |request| {
                let mut stub = self.stub.clone();
                async move { Ok(stub.list_models(request).await?.into_inner().models) }
            })
            .await
            .map_err(|status| Error::new(status, &self.address))
    }

    fn call(&self, method: &str) -> Call<'_> {
        Call {
            deadline: Deadline::after(self.timeout),
            policy: self.policies.of(method),
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("address", &self.address)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// Better and better rankings of one call; see [`Client::rerank_partial`]. A [`Stream`], with a `next`
/// of its own for those who need no more.
#[must_use = "nothing is asked until the first ranking is"]
pub struct Rankings(Pin<Box<dyn Stream<Item = Result<RerankResponse, Error>> + Send>>);

impl Rankings {
    /// Waits for the next ranking; `None` after the last, and after an error.
    pub async fn next(&mut self) -> Option<Result<RerankResponse, Error>> {
        self.0.next().await
    }
}

impl Stream for Rankings {
    type Item = Result<RerankResponse, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(context)
    }
}

impl fmt::Debug for Rankings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rankings").finish_non_exhaustive()
    }
}
