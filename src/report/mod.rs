//! Every consumer of events, and the only writer to stdout and stderr.
