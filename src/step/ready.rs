//! `ready:NAME`: a check passes now. Nothing is recorded: the check itself is the proof.

use super::{Finished, Inspection, Speaker, StepError, World};
use crate::process::Cancel;

/// What `inspect` leaves to `execute`.
#[derive(Debug)]
pub(super) struct Work {
    name: String,
}

pub(super) async fn inspect(_world: &World, _name: &str) -> Result<Inspection, StepError> {
    Err(StepError::new(crate::error::Class::Internal, "later"))
}

pub(super) async fn execute(
    _world: &World,
    _work: Work,
    _speaker: &Speaker,
    _cancel: &Cancel,
) -> Result<Finished, StepError> {
    Err(StepError::new(crate::error::Class::Internal, "later"))
}
