# Everything here is a plain go command with its flags remembered.
.DEFAULT_GOAL := help

GO      ?= go
BIN     := bin
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LINT_VERSION := v2.12.2
LINT    ?= $(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)
LDFLAGS := -s -w -X github.com/meshctl/meshctl/internal/version.Version=$(VERSION)
BUILD   := CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)'

.PHONY: help
help: ## show this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/  \1\t\2/' | expand -t 16

.PHONY: build
build: ## build meshctl, meshd, meshproxy and bookinfo into bin/
	$(BUILD) -o $(BIN)/ ./cmd/meshctl ./cmd/meshd ./cmd/meshproxy ./samples/bookinfo/cmd/bookinfo

ARCHS   ?= amd64 arm64
# A stock Envoy for each of ARCHS that is to have one; none: no image of meshproxy-envoy.
ENVOYS  ?=

.PHONY: images
images: build ## container images of meshd, meshproxy and bookinfo, into bin/images; no container engine
	@for a in $(ARCHS); do echo "linux/$$a"; GOOS=linux GOARCH=$$a $(BUILD) -buildvcs=false -o $(BIN)/linux_$$a/ \
	  ./cmd/meshd ./cmd/meshproxy ./samples/bookinfo/cmd/bookinfo || exit 1; done
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/meshctl images build $(ARCHS:%=--programs $(BIN)/linux_%) $(ENVOYS:%=--envoy %) -o $(BIN)/images

.PHONY: up
up: build ## a whole mesh with Bookinfo on this machine, in the background
	$(BIN)/meshctl up samples/bookinfo

.PHONY: down
down: build ## end it; nothing is left behind
	$(BIN)/meshctl down

.PHONY: test
test: ## vet and all unit, property and script tests
	$(GO) vet ./...
	$(GO) test ./...

.PHONY: race
race: ## the same tests under the race detector
	$(GO) test -race ./...

.PHONY: e2e
e2e: build ## end to end: real namespaces, real traffic, every Bookinfo manifest
	MESH_BIN=$(CURDIR)/$(BIN) $(GO) test -tags e2e -count=1 -timeout 30m ./test/e2e/

.PHONY: e2e-cluster
e2e-cluster: $(BIN)/cluster ## end to end on a real Kubernetes: install to uninstall; as root
	$(MAKE) images ARCHS=$$($(GO) env GOARCH) ENVOYS=$(MESH_ENVOY)
	MESH_BIN=$(CURDIR)/$(BIN) $(GO) test -tags e2e -count=1 -timeout 30m -v ./test/e2e/cluster/

.PHONY: conformance
conformance: $(BIN)/cluster ## the Gateway API's conformance suite against the mesh on a real Kubernetes; as root
	$(MAKE) images ARCHS=$$($(GO) env GOARCH)
	CGO_ENABLED=0 $(GO) -C test/conformance build -trimpath -o $(CURDIR)/$(BIN)/ sigs.k8s.io/gateway-api/conformance/echo-basic ./meshecho
	CGO_ENABLED=0 $(GO) -C test/cluster build -trimpath -o $(CURDIR)/$(BIN)/ ./pause
	MESH_BIN=$(CURDIR)/$(BIN) $(GO) -C test/conformance test -count=1 -timeout 90m -v .; \
	  status=$$?; $(BIN)/cluster --name conform down; exit $$status

.PHONY: cluster-up
cluster-up: $(BIN)/cluster ## a real one-node Kubernetes for tests; as root (see docs/testing.md)
	$(BIN)/cluster up

.PHONY: cluster-down
cluster-down: $(BIN)/cluster ## end it; nothing is left behind
	$(BIN)/cluster down

.PHONY: $(BIN)/cluster
$(BIN)/cluster:
	CGO_ENABLED=0 $(GO) -C test/cluster build -trimpath -o $(CURDIR)/$(BIN)/cluster .

.PHONY: interop
interop: ## a stock Envoy takes everything that is generated (needs envoy; see docs/testing.md)
	MESH_REQUIRE_ENVOY=1 $(GO) test -count=1 ./test/interop/... ./internal/controlplane/...

.PHONY: bench
bench: build ## native proxy against a stock Envoy, and the control plane; writes docs/benchmarks.md
	$(GO) run ./test/bench -out docs/benchmarks.md

.PHONY: golden
golden: ## rewrite golden files; look at the difference before committing
	UPDATE_GOLDEN=1 $(GO) test ./...

.PHONY: crds
crds: ## copy the definitions of Istio's resources and the Gateway API's anew from their modules
	install -m 644 $$($(GO) list -m -f '{{.Dir}}' istio.io/api)/kubernetes/customresourcedefinitions.gen.yaml charts/base/files/crds.yaml
	awk 'FNR == 1 && NR > 1 { print "---" } { print }' \
	  $$(grep -l '^kind: CustomResourceDefinition' $$($(GO) list -m -f '{{.Dir}}' sigs.k8s.io/gateway-api)/config/crd/standard/*.yaml) > charts/base/files/gateway-api.yaml

.PHONY: lint
lint: ## golangci-lint at the version pinned here
	$(LINT) run ./...

.PHONY: fuzz
fuzz: ## every fuzz target for a short while
	@for p in $$($(GO) list ./...); do for f in $$($(GO) test -list '^Fuzz' $$p | grep ^Fuzz); do \
	  echo "$$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime 10s $$p || exit 1; done; done

.PHONY: tidy
tidy: ## go.mod and formatting as they should be
	$(GO) mod tidy
	gofmt -w $$(git ls-files '*.go')
