//! The gateway as a whole, on loopback: a sandbox made of a map from the addresses asked for to
//! real listeners, upstreams that the test owns, and a resolver that counts.

mod lab;
mod limits;
mod names;
mod speaking;
mod web;
