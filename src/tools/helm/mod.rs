//! The user's own `helm`, version 3 or 4, and the release records that it keeps in the cluster.
