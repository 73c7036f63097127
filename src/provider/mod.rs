//! Adapters for agent programs.
