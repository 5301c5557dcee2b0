//! Client for rerankd, the caching proxy for LLM reranking.
//!
//! ```no_run
//! use rerankd::{ADDRESS, Client, RerankRequest};
//!
//! # async fn example() -> Result<(), rerankd::Error> {
//! let client = Client::builder(ADDRESS).connect().await?;
//! let request = RerankRequest::new("why is the sky blue", ["bread and salt", "why skies are blue"]);
//! for result in client.rerank(request).await?.results {
//!     println!("{} {:?} {:?}", result.index, result.relevance_score, result.source());
//! }
//! # Ok(())
//! # }
//! ```

mod address;
mod builder;
mod call;
mod client;
mod error;
mod request;
mod retry;
mod transport;

#[cfg(test)]
mod tests;

/// What the API is made of, as generated; every field is described in `rerank.proto`.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod proto {
    tonic::include_proto!("rerankd.v1");
}

pub use builder::Builder;
pub use client::{Client, Rankings};
pub use error::{Error, Violation};
pub use proto::{
    CacheMode, Document, Model, RankedDocument, RerankRequest, RerankResponse, ScoreSource,
    UnscoredDetail, UnscoredReason, Usage,
};
pub use tonic::Code;
#[cfg(feature = "tls")]
pub use tonic::transport::{Certificate, ClientTlsConfig, Identity};

/// Where `rerankd serve` listens unless told otherwise.
pub const ADDRESS: &str = "127.0.0.1:50051";

/// A service config for [`Builder::service_config`]: a call that finds the server away or overloaded
/// is tried again, four times in all.
pub const RETRYING: &str = include_str!("service_config.json");
