module backstop.dev/e2e/tools/crds

go 1.26.0

require (
	github.com/prometheus-operator/prometheus-operator v0.85.0
	github.com/aquasecurity/trivy-operator v0.29.0
	github.com/argoproj/argo-cd/v3 v3.5.7
	github.com/fluxcd/kustomize-controller v1.9.5
	github.com/fluxcd/source-controller v1.9.5
	github.com/projectcontour/contour v1.33.8
	github.com/traefik/traefik/v3 v3.7.13
	istio.io/api v1.31.1
	sigs.k8s.io/gateway-api v1.6.2
)
