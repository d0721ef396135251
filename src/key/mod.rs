//! What a step depends on: manifests, digests, walking files, explaining a difference. Knows no tool.
