//! The stack file: TOML with spans, all errors at once, profiles, variables, references. Knows no network and no tool.
