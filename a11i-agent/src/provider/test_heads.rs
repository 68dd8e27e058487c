//! Heads of requests for the dialects' tests.

use a11i_common::identity::BootTime;

use crate::{
    call::Role,
    http::{HeaderValue, Headers, HttpVersion, RequestHead},
};

/// A client's request.
pub(super) fn request(method: &str, host: &str, path: &str, header: &[(&str, &str)]) -> RequestHead {
    RequestHead {
        role: Role::Client,
        version: HttpVersion::Http11,
        method: method.to_owned(),
        path: path.to_owned(),
        query: None,
        host: Some(host.to_owned()),
        port: None,
        headers: fields(header),
        first_byte: BootTime(0),
    }
}

pub(super) fn fields(fields: &[(&str, &str)]) -> Headers {
    let mut headers = Headers::default();
    for (name, value) in fields {
        headers.push((*name).to_owned(), HeaderValue::Text((*value).to_owned()));
    }
    headers
}
