//! HTTP messages → calls.
//!
//! Takes [`crate::http::HttpEvent`]s of one connection. Gives [`crate::call::LlmCall`]s. Refuses what no dialect claims.
//! One provider's format is one file and one line in the list below.
