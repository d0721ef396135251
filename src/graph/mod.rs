//! Steps and their edges: ids, inference of edges from references, cycles, selection, rendering. Pure.

mod id;

pub use id::{ParseStepIdError, StepId, StepKind};
