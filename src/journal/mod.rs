//! The hash-chained list of events of a run, on disk.
