//! Requests, from what callers have.

use crate::proto::{Document, RerankRequest};

impl RerankRequest {
    /// Asks to rank `documents` by how relevant they are to `query`.
    pub fn new(
        query: impl Into<String>,
        documents: impl IntoIterator<Item = impl Into<Document>>,
    ) -> Self {
        Self {
            query: query.into(),
            documents: documents.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }
}

impl From<String> for Document {
    fn from(text: String) -> Self {
        Self {
            text,
            ..Self::default()
        }
    }
}

impl From<&str> for Document {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}
