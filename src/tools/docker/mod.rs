//! The Docker Engine: images, builds through BuildKit, and moving images.
