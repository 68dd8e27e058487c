//! Message batches (<https://docs.anthropic.com/en/api/creating-message-batches>): recognised and never billed, since what they consume is
//! consumed later, at other prices.

use crate::{
    call::{CallBuilder, Operation, ProviderName},
    http::RequestHead,
    provider::{
        Dialect, StreamFrame,
        body::is_worth_following,
        lenient::{Raw, Text, Unreadable, clip, lenient_object, parse},
        names,
    },
};

pub(in crate::provider) struct AnthropicBatches;

const BATCH: Operation = Operation::Other("batch");

impl Dialect for AnthropicBatches {
    fn name(&self) -> ProviderName {
        ProviderName::of("anthropic")
    }

    fn usual_operation(&self) -> Operation {
        BATCH
    }

    fn claims(&self, head: &RequestHead) -> Option<Operation> {
        let (_, rest) = head.path.trim_end_matches('/').split_once("/v1/messages/batches")?;
        let mut parts = rest.split('/');
        match (head.method.as_str(), parts.next()?, parts.next(), parts.next(), parts.next()) {
            ("POST", "", None, ..) => is_worth_following(head).then_some(BATCH),
            ("POST", "", Some(_), Some("cancel"), None) => Some(BATCH),
            // Asked for again and again until it is there; its results are a file.
            ("GET", "", Some(_), None, _) => Some(Operation::FetchResponse),
            _ => None,
        }
    }

    fn only_at_known_hosts(&self) -> bool {
        true
    }

    fn request(&self, _operation: Operation, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        let mut models = Models::Unnamed;
        parse::<Request<'_>>(body)?.requests.for_each(|one: One<'_>| {
            let model = clip(one.params.model.as_str().unwrap_or_default(), MODEL_BYTES);
            models = match std::mem::replace(&mut models, Models::Several) {
                Models::Unnamed => Models::One(model.to_owned()),
                Models::One(known) if known == model => Models::One(known),
                Models::One(_) | Models::Several => Models::Several,
            };
        });
        if let Models::One(model) = models {
            call.request.model = Some(model).filter(|model| !model.is_empty());
        }
        Ok(())
    }

    fn response(&self, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        names::response(body, call)
    }

    /// None of these is streamed.
    fn chunk(&self, _frame: &StreamFrame<'_>, _call: &mut CallBuilder) {}
}

/// Longest name of a model.
const MODEL_BYTES: usize = 256;

/// The model of a batch is the one that all of its requests name.
enum Models {
    Unnamed,
    One(String),
    Several,
}

lenient_object! {
    struct Request<'a> {
        "requests" => requests: Raw<'a>,
    }
}

lenient_object! {
    struct One<'a> {
        "params" => params: Params<'a>,
    }
}

lenient_object! {
    struct Params<'a> {
        "model" => model: Text<'a>,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        call::{CallFrame, Ending},
        fixture::request_head,
        http::HeaderValue,
        provider::Routes,
    };

    #[test]
    fn batches_are_made_cancelled_and_fetched_at_hosts_that_are_known() {
        let claim = |method: &str, host: &str, path: &str| {
            let mut head = request_head(method, host, path);
            head.headers.push("content-length".into(), HeaderValue::Text("100".into()));
            let route = Routes::default().route(&head, None)?;
            Some((route.provider.as_str().to_owned(), route.operation.as_str()))
        };
        let known = |operation| Some(("anthropic".to_owned(), operation));
        for (method, path, want) in [
            ("POST", "/v1/messages/batches", known("batch")),
            ("POST", "/v1/messages/batches/msgbatch_1/cancel", known("batch")),
            ("GET", "/v1/messages/batches/msgbatch_1", known("fetch_response")),
            ("GET", "/v1/messages/batches/msgbatch_1/results", None),
            ("GET", "/v1/messages/batches", None),
            ("GET", "/v1/messages/batchesX/y", None),
        ] {
            assert_eq!(claim(method, "api.anthropic.com", path), want, "{method} {path}");
        }
        assert_eq!(claim("POST", "shop.example", "/v1/messages/batches"), None);
    }

    #[test]
    fn a_batch_names_the_model_that_all_of_its_requests_name() {
        let model = |body: &[u8]| {
            let mut call = CallBuilder::new(ProviderName::of("anthropic"), BATCH, true);
            AnthropicBatches.request(BATCH, body, &mut call).unwrap();
            AnthropicBatches.response(br#"{"id":"msgbatch_1","processing_status":"in_progress"}"#, &mut call).unwrap();
            let call = call.build(CallFrame::default(), Ending::Seen);
            assert!(call.usage.is_absent() && call.response.id.as_deref() == Some("msgbatch_1"));
            call.request.model
        };
        let one = |model: &str| format!(r#"{{"custom_id":"c","params":{{"model":"{model}","messages":[]}}}}"#);
        let batch = |models: &[&str]| format!(r#"{{"requests":[{}]}}"#, models.iter().map(|m| one(m)).collect::<Vec<_>>().join(","));
        assert_eq!(model(batch(&["a", "a"]).as_bytes()).as_deref(), Some("a"));
        for other in [batch(&["a", "b", "a"]), batch(&[""]), r#"{"requests":7}"#.to_owned()] {
            assert_eq!(model(other.as_bytes()), None, "{other}");
        }
    }
}
