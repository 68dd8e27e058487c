//! What is no model call: `/health`, `/bytes/N` (so many bytes), `/upload` (tells how many bytes came).

use bytes::Bytes;
use http_body_util::{BodyExt as _, channel::Channel};
use hyper::{Response, StatusCode, body::Incoming, header};

use super::{
    exchange::{End, Exchanges},
    server::{Body, plain},
};

/// Size of the pieces of a download.
const PIECE: usize = 64 * 1024;
/// Pieces between the writer of a download and the connection.
const PIECES_IN_FLIGHT: usize = 4;

/// Reads a body to its end and keeps nothing of it; its length.
pub(super) async fn drain(mut body: Incoming) -> Result<usize, hyper::Error> {
    let mut length = 0_usize;
    while let Some(frame) = body.frame().await {
        length = length.saturating_add(frame?.data_ref().map_or(0, Bytes::len));
    }
    Ok(length)
}

/// The answer to a request that is no model call; `uploaded` bytes came with it.
pub(super) fn answer(path: &str, uploaded: usize, exchanges: Exchanges, index: usize) -> Response<Body> {
    if let Some(length) = path.strip_prefix("/bytes/").and_then(|length| length.parse::<usize>().ok()) {
        return download(length, exchanges, index);
    }
    exchanges.ended(index, End::Written);
    match path {
        "/health" => plain(StatusCode::OK, r#"{"status":"ok"}"#.to_owned()),
        "/upload" => plain(StatusCode::OK, uploaded.to_string()),
        _ => plain(StatusCode::NOT_FOUND, "{}".to_owned()),
    }
}

fn download(length: usize, exchanges: Exchanges, index: usize) -> Response<Body> {
    let (mut sender, body) = Channel::new(PIECES_IN_FLIGHT);
    tokio::spawn(async move {
        let piece = Bytes::from(vec![b'.'; PIECE]);
        let mut left = length;
        while left > 0 {
            let now = left.min(PIECE);
            if sender.send_data(piece.slice(..now)).await.is_err() {
                exchanges.ended(index, End::Abandoned { content_events: 0 });
                return;
            }
            left = left.saturating_sub(now);
        }
        exchanges.ended(index, End::Written);
    });
    let head = Response::builder().header(header::CONTENT_TYPE, "application/octet-stream").header(header::CONTENT_LENGTH, length);
    head.body(Body::Right(body)).expect("headers of the stand-in are valid")
}
