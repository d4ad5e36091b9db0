// Package xdsgentest makes inputs of package xdsgen from short YAML, for tests of
// what is generated. All names in it are fully qualified already.
//
//	s, err := xdsgentest.Parse(yaml)
//	bundle := s.Sidecar(mesh.DialectNative)
package xdsgentest

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	meshv1 "istio.io/api/mesh/v1alpha1"
	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"
	"sigs.k8s.io/yaml"

	"github.com/meshctl/meshctl/internal/mesh"
)

// Service is a service with its endpoints, in YAML.
type Service struct {
	mesh.Service
	Endpoints []*mesh.Endpoint
}

// Workload is the proxy for which resources are made.
type Workload struct {
	Namespace    string
	Labels       map[string]string
	Interception string
	Bound        string // as mesh.ParseBound reads it
	HTTPProxy    uint32 // the port
	HTTP10       bool
	IPv6         bool
	RegistryOnly bool
	// Ports are its inbound ports.
	Ports []Port
}

// Port is an inbound port.
type Port struct {
	Number   uint32
	Protocol mesh.Protocol
	Host     string
}

// Scenario is everything that a test says.
type Scenario struct {
	Mesh             *mesh.MeshConfig
	Workload         Workload
	Services         []Service
	VirtualServices  []*mesh.VirtualService
	DestinationRules []*mesh.DestinationRule
	Gateways         []*mesh.Gateway
	PeerAuthn        []*mesh.PeerAuthentication
	Authz            mesh.AuthzPolicies
	Tokens           []mesh.TokenRule
	Sidecar          *networking.Sidecar
}

type document struct {
	Kind     string
	Metadata struct {
		Name, Namespace string
		Annotations     map[string]string
	}
	Spec any
}

// Parse reads documents: Workload, Service (of package mesh), MeshConfig, and
// Istio's kinds. Without namespace an object is in "default".
func Parse(text string) (*Scenario, error) {
	s := &Scenario{
		Mesh: &mesh.MeshConfig{
			MeshConfig: &meshv1.MeshConfig{AccessLogFile: "/dev/stdout"}, ClusterDomain: "cluster.local", TrustDomains: []string{"cluster.local"}, Cluster: "Kubernetes",
		},
		Workload: Workload{Namespace: "default"},
	}
	for i, d := range strings.Split(text, "\n---") {
		if strings.TrimSpace(strings.TrimPrefix(d, "---")) == "" {
			continue
		}
		if err := s.add(strings.TrimPrefix(d, "---")); err != nil {
			return nil, fmt.Errorf("document %d: %w", i, err)
		}
	}
	return s, nil
}

func (s *Scenario) add(text string) error {
	var d document
	if err := yaml.Unmarshal([]byte(text), &d); err != nil {
		return err
	}
	if d.Metadata.Namespace == "" {
		d.Metadata.Namespace = "default"
	}
	raw, err := yaml.Marshal(d.Spec)
	if err != nil {
		return err
	}
	into := func(m proto.Message) error {
		j, err := yaml.YAMLToJSON(raw)
		if err != nil {
			return err
		}
		return protojson.Unmarshal(j, m)
	}
	o := mesh.Origin{Kind: d.Kind, Namespace: d.Metadata.Namespace, Name: d.Metadata.Name}
	switch d.Kind {
	case "Workload":
		if err := yaml.Unmarshal(raw, &s.Workload); err != nil || s.Workload.Bound == "" {
			return err
		}
		_, err := mesh.ParseBound(s.Workload.Bound)
		return err
	case "MeshConfig":
		return into(s.Mesh.MeshConfig)
	case "Service":
		return s.addService(o, raw)
	case "VirtualService":
		return s.addVirtualService(o, into)
	case "DestinationRule":
		o.Group = "networking.istio.io"
		r := &mesh.DestinationRule{Origin: o, ExportTo: mesh.Visibility{All: true}, Spec: &networking.DestinationRule{}}
		err := into(r.Spec)
		r.Host = r.Spec.Host
		s.DestinationRules = append(s.DestinationRules, r)
		return err
	case "Gateway":
		o.Group = "networking.istio.io"
		g := &mesh.Gateway{Config: mesh.Config[*networking.Gateway]{Origin: o, Spec: &networking.Gateway{}}}
		s.Gateways = append(s.Gateways, g)
		return into(g.Spec)
	case "Sidecar":
		s.Sidecar = &networking.Sidecar{}
		return into(s.Sidecar)
	case "PeerAuthentication":
		p := &mesh.PeerAuthentication{Origin: o, Spec: &security.PeerAuthentication{}}
		s.PeerAuthn = append(s.PeerAuthn, p)
		return into(p.Spec)
	case "RequestAuthentication":
		r := &security.RequestAuthentication{}
		if err := into(r); err != nil {
			return err
		}
		for i, j := range r.JwtRules {
			s.Tokens = append(s.Tokens, mesh.TokenRule{Origin: o, Field: fmt.Sprintf("spec.jwtRules[%d]", i), Rule: j, Keys: j.Jwks})
		}
		return nil
	case "AuthorizationPolicy":
		return s.addPolicy(o, d, into)
	default:
		return fmt.Errorf("unknown kind %q", d.Kind)
	}
}

func (s *Scenario) addService(o mesh.Origin, raw []byte) error {
	var svc Service
	if err := yaml.UnmarshalStrict(raw, &svc); err != nil {
		return err
	}
	svc.Origin, svc.Name, svc.Namespace, svc.ExportTo = o, o.Name, o.Namespace, mesh.Visibility{All: true}
	if svc.Resolution == "" {
		svc.Resolution = mesh.ResolveStatic
	}
	if svc.Registry == "" {
		svc.Registry = mesh.RegistryKubernetes
	}
	for i, e := range svc.Endpoints {
		if e.Health == "" {
			svc.Endpoints[i].Health = mesh.Healthy
		}
	}
	s.Services = append(s.Services, svc)
	return nil
}

func (s *Scenario) addVirtualService(o mesh.Origin, into func(proto.Message) error) error {
	o.Group = "networking.istio.io"
	v := &mesh.VirtualService{Origin: o, ExportTo: mesh.Visibility{All: true}, Spec: &networking.VirtualService{}}
	if err := into(v.Spec); err != nil {
		return err
	}
	v.Hosts = v.Spec.Hosts
	for _, g := range v.Spec.Gateways {
		if g != mesh.MeshGateway && !strings.Contains(g, "/") {
			g = o.Namespace + "/" + g
		}
		v.Gateways = append(v.Gateways, g)
	}
	if len(v.Gateways) == 0 {
		v.Gateways = []string{mesh.MeshGateway}
	}
	slices.Sort(v.Gateways)
	s.VirtualServices = append(s.VirtualServices, v)
	return nil
}

func (s *Scenario) addPolicy(o mesh.Origin, d document, into func(proto.Message) error) error {
	p := &mesh.AuthorizationPolicy{Origin: o, Spec: &security.AuthorizationPolicy{}}
	if err := into(p.Spec); err != nil {
		return err
	}
	dry := d.Metadata.Annotations["istio.io/dry-run"] == "true"
	a := &s.Authz
	switch {
	case p.Spec.Action == security.AuthorizationPolicy_DENY && dry:
		a.DryRunDeny = append(a.DryRunDeny, p)
	case p.Spec.Action == security.AuthorizationPolicy_DENY:
		a.Deny = append(a.Deny, p)
	case p.Spec.Action == security.AuthorizationPolicy_AUDIT:
		a.Audit = append(a.Audit, p)
	case dry:
		a.DryRunAllow = append(a.DryRunAllow, p)
	default:
		a.Allow = append(a.Allow, p)
	}
	return nil
}
