package whatif

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/mesh"
)

// enter brings a request from outside to a gateway.
func (x *walk) enter(r Request, namespace string) error {
	to, err := x.w.find(r.Gateway, namespace)
	if err != nil {
		if to, err2 := x.w.find(r.Gateway, x.w.config().GetRootNamespace()); err2 == nil {
			return x.enterPod(r, to)
		}
		return err
	}
	return x.enterPod(r, to)
}

func (x *walk) enterPod(r Request, to *pod) error {
	if to.role != gateway {
		return fmt.Errorf("%s is no gateway", to.owner)
	}
	if x.client = r.Client; !x.client.IsValid() {
		x.client = outside
	}
	x.answer.From = "a client outside, at " + x.client.String()
	c := &connection{
		dst: netip.AddrPortFrom(to.addrs[0], x.w.behind(to, x.port)), src: netip.AddrPortFrom(x.client, 0),
		tls: x.scheme == "https", alpn: x.speaks(),
	}
	if c.tls {
		c.sni = strings.ToLower(x.host)
	}
	return x.gateway(to, c)
}

// behind is the pod's port behind a port of its Service; the port itself when no
// Service says otherwise.
func (w *World) behind(p *pod, port uint16) uint16 {
	for _, o := range w.objects {
		s, ok := o.Spec.(*corev1.Service)
		if !ok || o.Key.Namespace != p.namespace || len(s.Spec.Selector) == 0 || !mesh.Selects(s.Spec.Selector, p.labels) {
			continue
		}
		for _, sp := range s.Spec.Ports {
			if uint16(sp.Port) == port && sp.TargetPort.IntValue() > 0 {
				return uint16(sp.TargetPort.IntValue())
			}
		}
	}
	return port
}

// gateway follows a connection into a gateway.
func (x *walk) gateway(to *pod, c *connection) error {
	px, err := x.w.proxy(x.ctx, to)
	if err != nil {
		return err
	}
	c.px, c.hop = px, x.hop("gateway", to)
	if c.listener = px.listener(c.dst.Port()); c.listener == nil {
		var ports []string
		for _, l := range px.snap.Listeners {
			for _, a := range l.Addrs {
				if p := strconv.FormatUint(uint64(a.Port()), 10); a.Port() < 15000 && !slices.Contains(ports, p) {
					ports = append(ports, p)
				}
			}
		}
		reason := "the gateway does not listen on port " + strconv.FormatUint(uint64(c.dst.Port()), 10)
		if len(ports) > 0 {
			reason += "; it does on " + strings.Join(ports, ", ")
		}
		x.end(Outcome{Kind: Refused, Reason: reason})
		return nil
	}
	inner := *x
	inner.source = to
	return inner.connect(c)
}
