//! Specifications: Markdown text.
