//! `carat pull`, `list` and `remove`, and names of models, against a server on this machine that
//! does everything wrong that servers and networks do wrong.

#![cfg(feature = "download")]

#[path = "../common/mod.rs"]
mod common;

mod broken;
mod kills;
mod lies;
mod names;
mod processes;
mod python;
mod server;
mod setup;
mod statuses;
