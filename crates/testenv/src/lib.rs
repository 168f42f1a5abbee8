//! A real Kubernetes control plane on loopback for tests, benches and the demo
