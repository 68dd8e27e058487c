//! Priced calls → redacted calls: the only way down to metrics and export.
