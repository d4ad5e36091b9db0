package cni

import (
	"errors"
	"strconv"
	"strings"

	"github.com/meshctl/meshctl/internal/capture"
)

// pod is what of a pod decides about its traffic.
type pod struct {
	Metadata struct {
		Name        string            `json:"name"`
		Namespace   string            `json:"namespace"`
		UID         string            `json:"uid"`
		Annotations map[string]string `json:"annotations"`
	} `json:"metadata"`
	Spec struct {
		HostNetwork    bool        `json:"hostNetwork"`
		Containers     []container `json:"containers"`
		InitContainers []container `json:"initContainers"`
	} `json:"spec"`
	Status struct {
		InitContainerStatuses []containerStatus `json:"initContainerStatuses"`
	} `json:"status"`
}

type container struct {
	Name string `json:"name"`
	Args []string
	Env  []struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	} `json:"env"`
	SecurityContext struct {
		RunAsUser  *uint32 `json:"runAsUser"`
		RunAsGroup *uint32 `json:"runAsGroup"`
	} `json:"securityContext"`
}

type containerStatus struct {
	Name      string         `json:"name"`
	State     containerState `json:"state"`
	LastState containerState `json:"lastState"`
}

type containerState struct {
	Terminated *struct {
		ExitCode int `json:"exitCode"`
	} `json:"terminated"`
}

const (
	proxyName    = "istio-proxy"
	initName     = "istio-init"
	validateName = "istio-validation"
)

func find(all []container, name string) *container {
	for i := range all {
		if all[i].Name == name {
			return &all[i]
		}
	}
	return nil
}

// capture is what is to be redirected, false when nothing is: the pod has no
// sidecar, is a gateway, or redirects by itself.
func (p *pod) capture() (capture.Config, bool, error) {
	proxy := find(p.Spec.Containers, proxyName)
	if proxy == nil {
		proxy = find(p.Spec.InitContainers, proxyName)
	}
	injected := p.Metadata.Annotations["sidecar.istio.io/status"] != ""
	switch {
	case proxy == nil || !injected || p.Spec.HostNetwork:
		return capture.Config{}, false, nil
	case find(p.Spec.InitContainers, initName) != nil:
		return capture.Config{}, false, nil
	case find(p.Spec.InitContainers, validateName) == nil && p.Metadata.Annotations["sidecar.istio.io/interceptionMode"] == "":
		return capture.Config{}, false, nil // a gateway
	}
	c, wrong := capture.FromAnnotations(capture.Default(), p.Metadata.Annotations)
	if len(wrong) > 0 {
		all := make([]error, len(wrong))
		for i, w := range wrong {
			all[i] = w
		}
		return capture.Config{}, false, errors.Join(all...)
	}
	if id := proxy.SecurityContext.RunAsUser; id != nil {
		c.ProxyUIDs = []uint32{*id}
	}
	if id := proxy.SecurityContext.RunAsGroup; id != nil {
		c.ProxyGIDs = []uint32{*id}
	}
	for _, e := range proxy.Env {
		if e.Name == "ISTIO_META_DNS_CAPTURE" {
			on, err := strconv.ParseBool(strings.TrimSpace(e.Value))
			c.DNSCapture = err == nil && on
		}
	}
	return c, c.Mode != capture.None, c.Validate()
}
