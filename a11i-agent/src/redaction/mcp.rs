//! [`RedactedMcp`]: what exporters accept of MCP. Only this folder can make one.

use super::ContentPolicy;
use crate::call::{Completeness, McpMessage};

/// A message that holds only what content policy allows.
#[derive(Clone, Debug)]
pub struct RedactedMcp {
    message: McpMessage,
}

impl RedactedMcp {
    pub const fn message(&self) -> &McpMessage {
        &self.message
    }

    /// Something of it may be missing after all.
    pub fn mark(&mut self, missing: Completeness) {
        self.message.completeness = self.message.completeness.join(missing);
    }
}

/// Removes what the policy withholds. Names of tools and addresses of resources are no content: they say what was used.
pub fn redact_mcp(mut message: McpMessage, policy: ContentPolicy) -> RedactedMcp {
    match policy {
        ContentPolicy::Full => {}
        ContentPolicy::None => {
            message.arguments = None;
            message.result = None;
            message.outcome.error_message = None;
        }
    }
    RedactedMcp { message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Outcome;

    #[test]
    fn without_content_nothing_of_arguments_and_results_remains() {
        const SECRET: &str = "the launch code is 0000";
        let said = || McpMessage {
            method: "tools/call".to_owned(),
            tool: Some("launch".to_owned()),
            arguments: Some(serde_json::json!({ "code": SECRET })),
            result: Some(serde_json::json!([SECRET])),
            outcome: Outcome { error_type: Some("tool_error".to_owned()), error_message: Some(SECRET.to_owned()) },
            ..McpMessage::default()
        };
        let withheld = redact_mcp(said(), ContentPolicy::None);
        assert!(!format!("{withheld:?}").contains(SECRET));
        assert_eq!(withheld.message().target(), Some("launch"));
        assert_eq!(*redact_mcp(said(), ContentPolicy::Full).message(), said());
    }
}
