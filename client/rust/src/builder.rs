//! How a client is set up.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tonic::codegen::http::HeaderValue;
use tonic::transport::Endpoint;

use crate::call::Deadline;
use crate::retry::Policies;
use crate::transport::{Transport, as_grpc_says};
use crate::{Client, Error, address};

/// As long as gRPC's own clients try to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// The most that HTTP/2 allows. All calls share it: a few answers that wait to be read would fill a
/// lesser one, and hold up every other. Each call's own window still bounds what is unread.
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;

/// The settings of a [`Client`]; see [`Client::builder`].
#[must_use]
pub struct Builder {
    address: String,
    timeout: Duration,
    token: Option<String>,
    service_config: Option<String>,
    #[cfg(feature = "tls")]
    tls: Option<tonic::transport::ClientTlsConfig>,
    endpoint: Vec<Box<dyn FnOnce(Endpoint) -> Endpoint + Send>>,
}

impl Builder {
    pub(crate) fn new(address: String) -> Self {
        Self {
            address,
            timeout: Duration::from_secs(60),
            token: None,
            service_config: None,
            #[cfg(feature = "tls")]
            tls: None,
            endpoint: Vec::new(),
        }
    }

    /// How long each call may take, from its start to its last message, retries included; 60 s
    /// unless told otherwise. It is the call's gRPC deadline. A year or more is for ever.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Encrypts the connection. `ClientTlsConfig::new().with_enabled_roots()` trusts whom this
    /// machine trusts; `ca_certificate` and `identity` are for certificates of your own. Its `timeout`
    /// is always 20 s, as for all connecting.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, config: tonic::transport::ClientTlsConfig) -> Self {
        self.tls = Some(config);
        self
    }

    /// Sends `authorization: Bearer TOKEN` with each call. Without TLS it is refused, unless the
    /// address is on this machine.
    pub fn bearer_token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Follows the retry policies of a gRPC service config, in JSON, such as [`crate::RETRYING`];
    /// what else it says is not read. Requests that may be sent again are copied for each try.
    pub fn service_config(mut self, json: impl Into<String>) -> Self {
        self.service_config = Some(json.into());
        self
    }

    /// During calls, asks after `time` of silence whether the server is still there; they end in
    /// `Unavailable` where it does not answer within `timeout`. A `time` of less than 5 s makes
    /// rerankd hang up.
    pub fn keepalive(self, time: Duration, timeout: Duration) -> Self {
        self.endpoint(move |endpoint| {
            endpoint
                .http2_keep_alive_interval(time)
                .keep_alive_timeout(timeout)
        })
    }

    /// Sets what only tonic knows: windows, origin, user agent.
    pub fn endpoint(mut self, set: impl FnOnce(Endpoint) -> Endpoint + Send + 'static) -> Self {
        self.endpoint.push(Box::new(set));
        self
    }

    /// Gives a client that is connected.
    ///
    /// # Errors
    /// `Unavailable` where the server cannot be reached, and those of [`Builder::lazy`].
    pub async fn connect(self) -> Result<Client, Error> {
        let (address, deadline) = (self.address.clone(), Deadline::after(self.timeout));
        let (endpoint, finish) = self.prepare()?;
        let connecting = async {
            let connected = endpoint.connect().await;
            connected.map_err(|error| as_grpc_says(tonic::Status::from_error(error.into())))
        };
        match deadline.bound(connecting).await {
            Ok(channel) => Ok(finish(channel)),
            Err(status) => Err(Error::new(status, &address)),
        }
    }

    /// Gives a client that connects when it is first called.
    ///
    /// # Errors
    /// `InvalidArgument` where address or settings are wrong.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn lazy(self) -> Result<Client, Error> {
        let (endpoint, finish) = self.prepare()?;
        Ok(finish(endpoint.connect_lazy()))
    }

    #[allow(clippy::type_complexity)]
    fn prepare(
        self,
    ) -> Result<(Endpoint, impl FnOnce(tonic::transport::Channel) -> Client), Error> {
        let token = self.bearer()?;
        let policies = match &self.service_config {
            Some(json) => Policies::read(json)?,
            None => Policies::default(),
        };
        let mut endpoint = address::endpoint(&self.address, self.encrypts())?
            .connect_timeout(CONNECT_TIMEOUT)
            .initial_connection_window_size(CONNECTION_WINDOW);
        #[cfg(feature = "tls")]
        if let Some(tls) = self.tls {
            let refused = |error| Error::refused(format!("tls: {}", crate::error::words(&error)));
            // The timeout above ends with TCP; a handshake that hangs would block the channel for good.
            let tls = tls.timeout(CONNECT_TIMEOUT);
            endpoint = endpoint.tls_config(tls).map_err(refused)?;
        }
        for set in self.endpoint {
            endpoint = set(endpoint);
        }
        let (address, timeout) = (self.address, self.timeout);
        let finish = move |channel| {
            let transport = Transport::new(channel, token);
            Client::new(transport, Arc::from(address), timeout, Arc::new(policies))
        };
        Ok((endpoint, finish))
    }

    pub(crate) fn bearer(&self) -> Result<Option<HeaderValue>, Error> {
        let Some(token) = &self.token else {
            return Ok(None);
        };
        if !self.encrypts() && !address::is_local(&self.address) {
            return Err(Error::refused(format!(
                "bearer token: {} is not this machine, and without TLS anyone on the way could read it",
                self.address
            )));
        }
        let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| Error::refused("bearer token: it holds what a header cannot".into()))?;
        // Kept out of debug output, and of HTTP/2's header tables.
        value.set_sensitive(true);
        Ok(Some(value))
    }

    fn encrypts(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.tls.is_some();
        #[cfg(not(feature = "tls"))]
        return false;
    }
}

// Not derived: it would show the token.
impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}
