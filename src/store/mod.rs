//! The folder `.stack/`: caches and a lock, never the truth.
