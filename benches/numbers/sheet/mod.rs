//! What a report is made of, and how one is compared with another. Measures nothing and reads
//! nothing, so that a test can hold it.

pub(crate) mod gate;
pub(crate) mod goals;
pub(crate) mod row;
pub(crate) mod table;
