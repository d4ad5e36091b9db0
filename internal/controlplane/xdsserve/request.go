package xdsserve

import (
	"errors"
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

// request is a discovery request of either protocol.
type request struct {
	node    *corev3.Node
	typeURL string
	nonce   string // of the response that it acknowledges or refuses; may be empty
	refused bool
	reason  string // why, when refused
	xdstp   bool   // it uses resource locators, which are not served

	// Delta only.
	subscribe, unsubscribe []string
	initial                map[string]string

	// State of the world only.
	names   []string
	version string
}

func fromDelta(r *discoveryv3.DeltaDiscoveryRequest) request {
	return request{
		node: r.GetNode(), typeURL: r.GetTypeUrl(), nonce: r.GetResponseNonce(),
		refused: r.GetErrorDetail() != nil, reason: r.GetErrorDetail().GetMessage(),
		subscribe: r.GetResourceNamesSubscribe(), unsubscribe: r.GetResourceNamesUnsubscribe(),
		initial: r.GetInitialResourceVersions(),
		xdstp:   len(r.GetResourceLocatorsSubscribe())+len(r.GetResourceLocatorsUnsubscribe()) > 0,
	}
}

func fromSotW(r *discoveryv3.DiscoveryRequest) request {
	return request{
		node: r.GetNode(), typeURL: r.GetTypeUrl(), nonce: r.GetResponseNonce(),
		refused: r.GetErrorDetail() != nil, reason: r.GetErrorDetail().GetMessage(),
		names: r.GetResourceNames(), version: r.GetVersionInfo(), xdstp: len(r.GetResourceLocators()) > 0,
	}
}

// check looks at what the check of the raw bytes only bounds roughly.
func (r *request) check(l Limits) error {
	switch {
	case r.typeURL == "":
		return errors.New("a discovery request on an aggregated stream needs a type URL")
	case len(r.typeURL) > l.MaxNameBytes:
		return fmt.Errorf("discovery request has a type URL of %d bytes, the limit is %d", len(r.typeURL), l.MaxNameBytes)
	case r.xdstp:
		return fmt.Errorf("request for %s uses resource locators, which this server does not support: subscribe by names", r.typeURL)
	}
	for _, names := range [][]string{r.subscribe, r.unsubscribe, r.names} {
		for _, name := range names {
			if name == "" {
				return fmt.Errorf("request for %s has an empty resource name", r.typeURL)
			}
			if len(name) > l.MaxNameBytes {
				return fmt.Errorf("request for %s has a resource name of %d bytes, the limit is %d", r.typeURL, len(name), l.MaxNameBytes)
			}
		}
	}
	return nil
}
