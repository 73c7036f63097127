//! The container engine: one trait, one implementation over the HTTP API of Docker and Podman.
