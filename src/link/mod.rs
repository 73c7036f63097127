//! The host's end of the link to the guest.
