//! A record through the stages up to the call.

use std::sync::Arc;

use a11i_agent::{
    call::{CaptureFacts, Completeness, LlmCall, Role},
    http::{BodyEnd, ExchangeId, FramingEnd, HeaderValue, Headers, HttpEvent, HttpEventKind, HttpVersion, RequestHead, ResponseHead},
    owner::Owner,
    provider::{ConnectionContext, ExchangeLimits, Exchanges, Routes},
    replay::{Message, Record, Seed, pieces},
};
use a11i_common::identity::BootTime;

pub(crate) fn replay(record: &Record, keep_content: bool) -> Vec<LlmCall> {
    let mut seed = Seed::of(&record.id);
    let limits = ExchangeLimits { keep_content, ..ExchangeLimits::default() };
    let mut exchanges = Exchanges::new(Arc::new(Routes::default()), limits);
    let context = ConnectionContext { owner: Arc::new(Owner::default()), capture: CaptureFacts::default(), server_name: None };
    let (path, query) = record.request.path.split_once('?').map_or((record.request.path.as_str(), None), |(p, q)| (p, Some(q)));
    let mut kinds = vec![HttpEventKind::Request(Box::new(RequestHead {
        role: Role::Client,
        version: HttpVersion::Http11,
        method: record.request.method.clone(),
        path: path.to_owned(),
        query: query.map(str::to_owned),
        host: Some(record.request.host.to_ascii_lowercase()),
        port: None,
        headers: headers(&record.request.message),
        first_byte: BootTime(1),
    }))];
    let end = BodyEnd { completeness: Completeness::Whole, framing: FramingEnd::Finished };
    kinds.extend(pieces(&record.request.message.body, &mut seed).into_iter().map(HttpEventKind::RequestBody));
    kinds.push(HttpEventKind::RequestEnd(end));
    kinds.push(HttpEventKind::Response(Box::new(ResponseHead {
        version: HttpVersion::Http11,
        status: record.response.status,
        headers: headers(&record.response.message),
        first_byte: BootTime(2),
    })));
    kinds.extend(pieces(&record.response.message.body, &mut seed).into_iter().map(HttpEventKind::ResponseBody));
    kinds.push(HttpEventKind::ResponseEnd(end));
    kinds
        .into_iter()
        .zip(10..)
        .filter_map(|(kind, time)| exchanges.handle(HttpEvent { exchange: ExchangeId(1), time: BootTime(time), kind }, &context))
        .collect()
}

fn headers(message: &Message) -> Headers {
    let mut headers = Headers::default();
    for (name, value) in &message.headers {
        headers.push(name.to_ascii_lowercase(), HeaderValue::Text(value.clone()));
    }
    headers
}
