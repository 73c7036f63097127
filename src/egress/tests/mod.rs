//! The gateway as a whole, on loopback: a sandbox made of a map from the addresses asked for to
//! real listeners, upstreams that the test owns, and a resolver that counts.

mod crowd;
mod lab;
mod limits;
mod names;
mod opened;
mod proxied;
mod speaking;
mod spent;
mod web;
