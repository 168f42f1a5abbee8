//! Routes of the proxy that share requests out between two Services, as manifests.

use backstop_testenv::traefik::GATEWAY_CLASS;

use crate::real::PORT;

/// By the Gateway API, with a Gateway at `port`; each Service with its weight.
pub fn http_route(port: u16, host: &str, backends: [(&str, u32); 2]) -> String {
    let [(one, of_one), (other, of_other)] = backends;
    format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: web}}
spec:
  gatewayClassName: {GATEWAY_CLASS}
  listeners: [{{name: http, port: {port}, protocol: HTTP}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: web}}
spec:
  parentRefs: [{{name: web}}]
  hostnames: [{host}]
  rules:
  - backendRefs:
    - {{name: {one}, port: {PORT}, weight: {of_one}}}
    - {{name: {other}, port: {PORT}, weight: {of_other}}}
"
    )
}

/// By Traefik's own kinds; each Service with its weight.
pub fn traefik_service(host: &str, backends: [(&str, u32); 2]) -> String {
    let [(one, of_one), (other, of_other)] = backends;
    format!(
        "apiVersion: traefik.io/v1alpha1
kind: TraefikService
metadata: {{name: web}}
spec:
  weighted:
    services:
    - {{name: {one}, port: {PORT}, weight: {of_one}}}
    - {{name: {other}, port: {PORT}, weight: {of_other}}}
---
apiVersion: traefik.io/v1alpha1
kind: IngressRoute
metadata: {{name: web}}
spec:
  entryPoints: [web]
  routes:
  - kind: Rule
    match: Host(`{host}`)
    services: [{{kind: TraefikService, name: web}}]
"
    )
}
