//! `stack`: one TOML file in, a running set of services out, doing only the work that is needed.
//!
//! The rooms and the direction of the arrows between them are described in `docs/architecture.md`. In short: `cli`
//! resolves what the user asked for, `config` and `graph` turn the file into steps and edges, `step` says for each kind
//! what its inputs are, how to observe it and how to carry it out, `plan` decides, `sched` orders, `exec` runs, `tools`
//! speaks to Docker, Kubernetes, Helm and minikube, and `report` is the only room that writes to a terminal.

pub mod cli;
pub mod config;
pub mod error;
pub mod event;
pub mod exec;
pub mod graph;
pub mod init;
pub mod key;
pub mod model;
pub mod plan;
pub mod process;
pub mod report;
pub mod run;
pub mod sched;
pub mod step;
pub mod store;
pub mod tools;
