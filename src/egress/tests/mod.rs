//! The gateway as a whole, on loopback: a sandbox made of a map from the addresses asked for to
//! real listeners, upstreams that the test owns, and a resolver that counts.

mod cache;
mod cache_attacks;
mod cache_lab;
mod crowd;
mod fuzz;
mod inspect;
mod inspect_attacks;
mod inspect_h2;
mod inspect_lab;
mod inspect_limits;
mod inspect_secrets;
mod inspect_tokens;
mod lab;
mod limits;
mod names;
mod opened;
mod proxied;
mod speaking;
mod spent;
mod vet;
mod web;
