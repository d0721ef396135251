//! The only owner of step states. A pure state machine: events in, effects out.
