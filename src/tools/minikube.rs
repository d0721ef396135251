//! minikube: profiles, start, node addresses, the Docker daemon inside the node.
