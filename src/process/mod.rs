//! Child processes: spawning by argv, process groups, capture, and an end that is certain.
