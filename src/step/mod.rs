//! One file for each kind of step: its inputs, how to observe its effect, how to carry it out.
