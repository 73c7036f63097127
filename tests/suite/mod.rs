pub(crate) mod harness;
mod live_end;
mod live_faults;
mod live_link;
mod live_run;
mod live_sandbox;
