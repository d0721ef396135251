//! The engine keeps its promises: on a virtual clock, on real processes, beside `ninja`, and when it is told to stop.

#[cfg(test)]
mod case;
#[cfg(test)]
mod check;
#[cfg(test)]
mod ninja;
#[cfg(test)]
mod reality;
#[cfg(test)]
mod shrink;
#[cfg(test)]
mod signals;
#[cfg(test)]
mod simulate;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod trace;
