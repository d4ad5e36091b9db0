package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"time"
)

// ServeLoadBalancers gives every Service of type LoadBalancer an address, as a
// cloud does, until ctx ends. The host has a route to them; kube-proxy does the
// rest.
func (c *Cluster) ServeLoadBalancers(ctx context.Context) error {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		if err := c.giveAddresses(ctx); err != nil && ctx.Err() == nil {
			c.say("%s load balancers: %v", time.Now().Format(time.TimeOnly), err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// service is what matters of one.
type service struct {
	Metadata struct{ Name, Namespace string }
	Spec     struct{ Type string }
	Status   struct {
		LoadBalancer struct{ Ingress []struct{ IP string } }
	}
}

func (c *Cluster) giveAddresses(ctx context.Context) error {
	var services struct{ Items []service }
	// From the API server's memory: this is asked often.
	if err := c.getJSON(ctx, "/api/v1/services?resourceVersion=0", &services); err != nil {
		return err
	}
	taken := map[string]bool{}
	for _, s := range services.Items {
		for _, i := range s.Status.LoadBalancer.Ingress {
			taken[i.IP] = true
		}
	}
	for _, s := range services.Items {
		if s.Spec.Type != "LoadBalancer" || len(s.Status.LoadBalancer.Ingress) > 0 {
			continue
		}
		ip, err := freeAddress(c.node().LoadBalancers(), taken)
		if err != nil {
			return err
		}
		taken[ip] = true
		if err := c.setAddress(ctx, s, ip); err != nil {
			return err
		}
		c.say("%s/%s is at %s", s.Metadata.Namespace, s.Metadata.Name, ip)
	}
	return nil
}

func freeAddress(from netip.Prefix, taken map[string]bool) (string, error) {
	for ip := from.Addr().Next(); from.Contains(ip); ip = ip.Next() {
		if !taken[ip.String()] {
			return ip.String(), nil
		}
	}
	return "", fmt.Errorf("all addresses of %s are given away", from)
}

func (c *Cluster) setAddress(ctx context.Context, s service, ip string) error {
	patch, err := json.Marshal(map[string]any{"status": map[string]any{
		"loadBalancer": map[string]any{"ingress": []map[string]string{{"ip": ip, "ipMode": "VIP"}}},
	}})
	if err != nil {
		return err
	}
	path := "/api/v1/namespaces/" + s.Metadata.Namespace + "/services/" + s.Metadata.Name + "/status"
	_, err = c.request(ctx, http.MethodPatch, path, bytes.NewReader(patch))
	return err
}
