//! Calls → counted calls: the provider's numbers, else a tokenizer's, marked.
