mod attack;
mod harness;
mod live_link;
