//! Everything that drives the real program, or speaks to a real Docker Engine, Kubernetes node and Helm. One binary, so
//! that what the tests share is compiled once; a file for each thing that a user gains.

#[cfg(test)]
mod kube_support;
#[cfg(test)]
mod small;
#[cfg(test)]
mod support;

#[cfg(test)]
mod adopt_and_prune;
#[cfg(test)]
mod api_faults;
#[cfg(test)]
mod api_warnings;
#[cfg(test)]
mod chart_files;
#[cfg(test)]
mod chart_support;
#[cfg(test)]
mod charts;
#[cfg(test)]
mod cluster_states;
#[cfg(test)]
mod contract;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod destroy;
#[cfg(test)]
mod diagnosis;
#[cfg(test)]
mod diff_and_logs;
#[cfg(test)]
mod docker_build;
#[cfg(test)]
mod docker_context;
#[cfg(test)]
mod docker_load;
#[cfg(test)]
mod drift;
#[cfg(test)]
mod examples;
#[cfg(test)]
mod gc;
#[cfg(test)]
mod image_stores;
#[cfg(test)]
mod incremental;
#[cfg(test)]
mod kind_and_k3d;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod local_cluster;
#[cfg(test)]
mod minikube_real;
#[cfg(test)]
mod new_cluster;
#[cfg(test)]
mod node_shell;
#[cfg(test)]
mod node_support;
#[cfg(test)]
mod nodes;
#[cfg(test)]
mod random_edits;
#[cfg(test)]
mod readiness;
#[cfg(test)]
mod ready_kinds;
#[cfg(test)]
mod recovery;
mod releases;
#[cfg(test)]
mod rollback;
#[cfg(test)]
mod shared_cache;
#[cfg(test)]
mod small_commands;
#[cfg(test)]
mod stands_on;
#[cfg(test)]
mod status;
#[cfg(test)]
mod stopping;
#[cfg(test)]
mod task_files;
#[cfg(test)]
mod task_runs;
mod task_secrets;
#[cfg(test)]
mod tasks;
#[cfg(test)]
mod todo_stack;
mod told;
#[cfg(test)]
mod watch;
#[cfg(test)]
mod wrong_inputs;
