//! The Kubernetes API: connection, reading a release's objects, watching them until they are ready.
