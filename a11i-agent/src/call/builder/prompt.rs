//! The prompt, and what comes with it.

use super::{CallBuilder, MAX_MESSAGES, admit, clip};
use crate::call::{Content, Message, Operation, Part, ToolDefinition, choice::json_tree};

impl CallBuilder {
    /// Up to the cap's rest of a prompt text; the whole of it counts against the cap.
    pub fn clip_input(&mut self, text: &str) -> String {
        clip(text, &mut self.input_room, &mut self.content.truncated)
    }

    /// Whether a piece of content that cannot be cut (a file, a tree) fits the cap; it then counts.
    pub const fn admit_input(&mut self, bytes: usize) -> bool {
        admit(bytes, &mut self.input_room, &mut self.content.truncated)
    }

    pub fn input_message(&mut self, message: Message) {
        self.keep(|content| &mut content.input_messages, message);
    }

    /// A prompt that is one text: what the user says, where it is not only embedded.
    pub fn prompt(&mut self, text: &str) {
        self.estimation.input.push(text);
        if self.keep_content && !text.is_empty() && self.operation != Operation::Embeddings {
            let parts = vec![Part::Text { content: self.clip_input(text) }];
            self.input_message(Message { role: "user".to_owned(), parts, ..Message::default() });
        }
    }

    /// A tool that the model may ask for. `schema`: JSON, or nothing.
    pub fn offer_tool(&mut self, kind: &str, name: &str, description: &str, schema: &str) {
        self.estimation.tool_definitions = self.estimation.tool_definitions.saturating_add(1);
        for text in [name, description, schema] {
            self.estimation.input.push(text);
        }
        if !self.keep_content {
            return;
        }
        let description = (!description.is_empty()).then(|| self.clip_input(description));
        let admitted = self.admit_input(schema.len());
        self.tool_definition(ToolDefinition {
            r#type: kind.to_owned(),
            name: name.to_owned(),
            description,
            parameters: json_tree(schema).filter(|_| admitted),
        });
    }

    pub fn system_instruction(&mut self, part: Part) {
        self.keep(|content| &mut content.system_instructions, part);
    }

    pub fn tool_definition(&mut self, tool: ToolDefinition) {
        self.keep(|content| &mut content.tool_definitions, tool);
    }

    fn keep<T>(&mut self, list: impl FnOnce(&mut Content) -> &mut Vec<T>, item: T) {
        if !self.keep_content {
            return;
        }
        let list = list(&mut self.content);
        if list.len() < MAX_MESSAGES {
            list.push(item);
        } else {
            self.content.truncated = true;
        }
    }
}
