//! The same methods over gRPC: protobuf messages, read through tables of their fields (`schema`) by the readers of JSON.

pub(in crate::provider) mod schema;

use super::{
    COUNT_TOKENS,
    path::{model_of_resource, percent_decoded},
    protobuf::{Schema, to_json},
};
use crate::{
    call::{CallBuilder, Operation, ProviderName},
    http::{RequestHead, grpc::GrpcParser},
    provider::{Dialect, Framing, StreamFrame, lenient::Unreadable},
};

/// Methods of one service. Each operation has one shape of request and of response here.
pub(in crate::provider) struct Grpc {
    pub(in crate::provider) provider: ProviderName,
    /// Before the version in the path: `/google.ai.generativelanguage.`.
    pub(in crate::provider) package: &'static str,
    pub(in crate::provider) methods: &'static [Method],
    pub(in crate::provider) path_ends: &'static [(&'static str, Operation)],
    pub(in crate::provider) read_request: fn(Operation, &[u8], &mut CallBuilder) -> Result<(), Unreadable>,
    pub(in crate::provider) read_response: fn(&[u8], &mut CallBuilder) -> Result<(), Unreadable>,
}

pub(in crate::provider) struct Method {
    /// `GenerativeService/GenerateContent`.
    pub(in crate::provider) name: &'static str,
    pub(in crate::provider) operation: Operation,
    /// None: the model that the routing header names has to make this.
    pub(in crate::provider) model_has: Option<&'static str>,
    pub(in crate::provider) request: &'static Schema,
    pub(in crate::provider) response: &'static Schema,
}

/// Of any model.
pub(in crate::provider) const fn method(
    name: &'static str,
    operation: Operation,
    request: &'static Schema,
    response: &'static Schema,
) -> Method {
    Method { name, operation, model_has: None, request, response }
}

/// <https://github.com/googleapis/googleapis/tree/master/google/ai/generativelanguage>
pub(in crate::provider) static GEMINI: Grpc = Grpc {
    provider: ProviderName::of("gcp.gemini"),
    package: "/google.ai.generativelanguage.",
    methods: &[
        method("GenerativeService/GenerateContent", Operation::GenerateContent, &schema::GENERATE_REQUEST, &schema::GENERATE_RESPONSE),
        method(
            "GenerativeService/StreamGenerateContent",
            Operation::GenerateContent,
            &schema::GENERATE_REQUEST,
            &schema::GENERATE_RESPONSE,
        ),
        method("GenerativeService/EmbedContent", Operation::Embeddings, &schema::EMBED_REQUEST, &schema::NOTHING),
        method("GenerativeService/BatchEmbedContents", Operation::Embeddings, &schema::EMBED_REQUEST, &schema::NOTHING),
        method("GenerativeService/CountTokens", COUNT_TOKENS, &schema::COUNT_REQUEST, &schema::NOTHING),
    ],
    path_ends: &[
        ("GenerativeService/GenerateContent", Operation::GenerateContent),
        ("GenerativeService/StreamGenerateContent", Operation::GenerateContent),
        ("GenerativeService/EmbedContent", Operation::Embeddings),
        ("GenerativeService/BatchEmbedContents", Operation::Embeddings),
    ],
    read_request: super::request,
    read_response: super::whole,
};

impl Grpc {
    fn method(&self, path: &str) -> Option<&'static Method> {
        let (_version, name) = path.strip_prefix(self.package)?.split_once('.')?;
        self.methods.iter().find(|method| method.name == name)
    }

    /// Both schemas of an operation: methods of one operation share them.
    fn schemas(&self, operation: Operation) -> Option<&'static Method> {
        self.methods.iter().find(|method| method.operation == operation)
    }
}

impl Dialect for Grpc {
    fn name(&self) -> ProviderName {
        self.provider.clone()
    }

    fn usual_operation(&self) -> Operation {
        self.methods.first().map_or(Operation::GenerateContent, |method| method.operation)
    }

    fn path_ends(&self) -> &'static [(&'static str, Operation)] {
        self.path_ends
    }

    fn claims(&self, head: &RequestHead) -> Option<Operation> {
        let method = self.method(&head.path).filter(|_| head.method == "POST")?;
        let is_right = method.model_has.is_none_or(|word| routed_model(head).is_some_and(|model| model.contains(word)));
        is_right.then_some(method.operation)
    }

    fn request_head(&self, head: &RequestHead, call: &mut CallBuilder) {
        call.request.model = routed_model(head);
        call.request.stream = head.path.rsplit('/').next().is_some_and(|name| name.starts_with("Stream"));
    }

    fn request(&self, operation: Operation, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        let schema = self.schemas(operation).ok_or(Unreadable)?.request;
        let mut outcome = Err(Unreadable);
        GrpcParser::default().push(body, |message| {
            // These methods take one message.
            if outcome.is_err() {
                outcome = to_json(message, schema).ok_or(Unreadable).and_then(|json| (self.read_request)(operation, &json, call));
            }
        });
        outcome
    }

    fn stream_framing(&self) -> Framing {
        Framing::Grpc
    }

    /// What is no gRPC: a proxy's refusal, told by its status.
    fn response(&self, _body: &[u8], _call: &mut CallBuilder) -> Result<(), Unreadable> {
        Err(Unreadable)
    }

    fn chunk(&self, frame: &StreamFrame<'_>, call: &mut CallBuilder) {
        let Some(method) = self.schemas(call.operation()) else { return };
        let streamed = call.request.stream;
        if let Some(json) = to_json(frame.data, method.response) {
            let running = call.usage_is_running;
            let _no_json = (self.read_response)(&json, call).is_err();
            call.usage_is_running = streamed && (running || !call.is_finished());
        }
    }

    fn stream_end(&self, gap: bool, call: &mut CallBuilder) {
        super::stream_end(gap, call);
    }
}

/// Google's clients repeat the resource in a header, so that it can be routed: `model=models%2Fgemini-x`, `endpoint=projects%2F…`.
fn routed_model(head: &RequestHead) -> Option<String> {
    let parameters = head.headers.text("x-goog-request-params")?;
    parameters.split('&').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        matches!(name, "model" | "endpoint").then(|| model_of_resource(&percent_decoded(value))).flatten()
    })
}

#[cfg(test)]
mod tests;
