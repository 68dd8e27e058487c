//! The agent on this kernel, with real TLS libraries and real clients. One behaviour per file.
//!
//! Every test compares what the agent reports with what the provider stand-in knows that it answered: exact numbers, never
//! times. Tests run one at a time ([`a11i_tests::serial`]) and need root (all but `instruments`); what is missing is said
//! aloud.
//!
//! Tests whose name contains `guest_` are the reduced list for other kernels: `e2e guest_` in the guest, with generous
//! limits, loopback only, and clients that were made on the host (`A11I_TEST_CACHE`).
#![expect(clippy::expect_used, clippy::panic, reason = "tests")]

mod scene;

mod admin;
mod bedrock;
mod bystander;
mod client_abort;
mod commands;
mod concurrent_streams;
mod confined;
mod containment;
mod content;
mod content_coding;
mod copied_bytes;
mod errors;
mod exec;
mod export;
mod files_of_others;
mod finders;
mod fork;
mod gateway;
mod gemini;
mod go;
mod guest;
mod http2;
mod instrumented;
mod instruments;
mod keep_alive;
mod large_prompt;
mod mcp;
mod new_process;
mod overlay_mounts;
mod peers;
mod plaintext;
mod programs;
mod restarts;
mod running_process;
mod runtimes;
mod runtimes_rust;
mod short_lived;
mod tiny_ring;
mod usage;
mod websocket;
