package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
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
	Spec     struct {
		Type       string
		IPFamilies []string
	}
	Status struct {
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
		if s.Spec.Type != "LoadBalancer" {
			continue
		}
		var ips []string
		for _, i := range s.Status.LoadBalancer.Ingress {
			ips = append(ips, i.IP)
		}
		had := len(ips)
		for _, from := range c.loadBalancers() {
			within := func(ip string) bool { a, err := netip.ParseAddr(ip); return err == nil && from.Contains(a) }
			if !s.has(from.Addr()) || slices.ContainsFunc(ips, within) {
				continue
			}
			ip, err := freeAddress(from, taken)
			if err != nil {
				return err
			}
			taken[ip] = true
			ips = append(ips, ip)
		}
		if len(ips) == had {
			continue
		}
		if err := c.setAddresses(ctx, s, ips); err != nil {
			return err
		}
		c.say("%s/%s is at %s", s.Metadata.Namespace, s.Metadata.Name, strings.Join(ips, " and "))
	}
	return nil
}

// has tells whether the service has addresses of the IP version.
func (s service) has(a netip.Addr) bool {
	if a.Is6() {
		return slices.Contains(s.Spec.IPFamilies, "IPv6")
	}
	return slices.Contains(s.Spec.IPFamilies, "IPv4")
}

func freeAddress(from netip.Prefix, taken map[string]bool) (string, error) {
	for ip := from.Addr().Next(); from.Contains(ip); ip = ip.Next() {
		if !taken[ip.String()] {
			return ip.String(), nil
		}
	}
	return "", fmt.Errorf("all addresses of %s are given away", from)
}

func (c *Cluster) setAddresses(ctx context.Context, s service, ips []string) error {
	ingress := make([]map[string]string, len(ips))
	for i, ip := range ips {
		ingress[i] = map[string]string{"ip": ip, "ipMode": "VIP"}
	}
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"loadBalancer": map[string]any{"ingress": ingress}}})
	if err != nil {
		return err
	}
	path := "/api/v1/namespaces/" + s.Metadata.Namespace + "/services/" + s.Metadata.Name + "/status"
	_, err = c.request(ctx, http.MethodPatch, path, bytes.NewReader(patch))
	return err
}
