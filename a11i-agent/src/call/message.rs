//! Messages and their parts, in the shape of the conventions' `gen_ai.{input,output}.messages`.

use serde::Serialize;

/// `{role, parts[]}`.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Message {
    pub role: String,
    pub parts: Vec<Part>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Output messages only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<String>,
}

/// Field names and tags are the conventions' JSON.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Part {
    Text {
        content: String,
    },
    /// The model asks the client to run a tool. `arguments` is the provider's JSON, parsed when it parses.
    ToolCall {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        name: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        arguments: Option<serde_json::Value>,
    },
    ToolCallResponse {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        response: serde_json::Value,
    },
    /// A tool the provider runs itself (web search, code). The object carries its own `type`.
    ServerToolCall {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        name: String,
        server_tool_call: serde_json::Value,
    },
    ServerToolCallResponse {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        server_tool_call_response: serde_json::Value,
    },
    Blob {
        modality: Modality,
        #[serde(skip_serializing_if = "Option::is_none")]
        mime_type: Option<String>,
        content: String,
    },
    Uri {
        modality: Modality,
        #[serde(skip_serializing_if = "Option::is_none")]
        mime_type: Option<String>,
        uri: String,
    },
    File {
        modality: Modality,
        #[serde(skip_serializing_if = "Option::is_none")]
        mime_type: Option<String>,
        file_id: String,
    },
    Reasoning {
        content: String,
    },
    /// A part this version does not know, by the provider's type; its content is not kept.
    Generic {
        generic_type: String,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Modality {
    Image,
    Video,
    Audio,
    Document,
}

/// `gen_ai.tool.definitions`: type and name; description and schema only when content policy is full.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ToolDefinition {
    pub r#type: String,
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameters: Option<serde_json::Value>,
}
