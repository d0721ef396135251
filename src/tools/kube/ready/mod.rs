//! Readiness: the rules, waiting by watches, and saying why when it does not come.

mod assess;
mod diagnose;
mod judge;
mod pods;
mod trouble;
mod wait;
mod words;
mod world;

pub use assess::{Assessment, Progress, assess, is_workload, takes_time};
pub use diagnose::{Diagnosis, Finding, Unready};
pub use judge::{Judge, Sighting, Verdict};
pub use trouble::{Cause, End, Rules, Severity, Trouble};
pub use wait::{NotReady, ReadyEvent, ReadyOptions, ReadyReport, diagnose_now, observe_ready, wait_ready};
pub use world::World;

pub(crate) use assess::{endpoints, selector_text};
pub(crate) use diagnose::{all_pods, diagnose, pod_trouble};
pub(crate) use pods::{containers as pod_containers, running_together, state as pod_state};
pub(crate) use wait::observe_world;
