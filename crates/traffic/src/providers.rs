//! The providers that come with Backstop. To add one: a file beside these, and a line here.

/// Each provider's entry, as YAML.
pub(crate) const BUILTIN: [&str; 14] = [
    include_str!("providers/gateway-httproute.yaml"),
    include_str!("providers/gateway-grpcroute.yaml"),
    include_str!("providers/traefik-service.yaml"),
    include_str!("providers/traefik-ingressroute.yaml"),
    include_str!("providers/istio.yaml"),
    include_str!("providers/linkerd.yaml"),
    include_str!("providers/contour.yaml"),
    include_str!("providers/apisix.yaml"),
    include_str!("providers/kuma.yaml"),
    include_str!("providers/skipper-routegroup.yaml"),
    include_str!("providers/skipper-ingress.yaml"),
    include_str!("providers/smi.yaml"),
    include_str!("providers/alb.yaml"),
    include_str!("providers/nginx.yaml"),
];
