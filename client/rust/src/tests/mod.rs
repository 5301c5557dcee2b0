//! Each file holds one promise; `server` is a real one, over the loopback, that does as it is told.

mod address;
mod calls;
mod connecting;
mod deadlines;
mod errors;
mod foreign;
mod lost;
mod retries;
mod server;
