//! The pure decision: what a step has to do, and why. Shared by apply, plan and why.
