package capture

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

const (
	annotationPrefix = "traffic.sidecar.istio.io/"
	annotationMode   = "sidecar.istio.io/interceptionMode"
	// AnnotationReroute names interfaces of virtual machines in the pod.
	annotationReroute = "istio.io/reroute-virtual-interfaces"
)

// AnnotationError says which annotation of a pod is wrong and why.
type AnnotationError struct {
	Annotation, Value, Reason string
}

func (e *AnnotationError) Error() string {
	return fmt.Sprintf("annotation %s: %q: %s", e.Annotation, e.Value, e.Reason)
}

// FromAnnotations applies a pod's annotations to base. Every wrong one is
// reported and leaves base as it was there; a caller that cannot show them must
// refuse the pod, since a typing error in an exclusion is a hole in the mesh.
func FromAnnotations(base Config, annotations map[string]string) (Config, []*AnnotationError) {
	c := base
	parsers := map[string]func(string) error{
		annotationPrefix + "includeOutboundIPRanges": func(v string) (err error) {
			return assign(&c.IncludeOutboundRanges, v, parseRangesOrAll)
		},
		annotationPrefix + "excludeOutboundIPRanges": func(v string) error {
			return assign(&c.ExcludeOutboundRanges, v, parseRanges)
		},
		annotationPrefix + "includeInboundPorts": func(v string) error {
			return assign(&c.IncludeInboundPorts, v, parsePortsOrAll)
		},
		annotationPrefix + "excludeInboundPorts": func(v string) error {
			ports, err := parsePorts(v)
			if err == nil {
				// The sidecar's own ports stay excluded whatever the user adds.
				c.ExcludeInboundPorts = union(base.ExcludeInboundPorts, ports)
			}
			return err
		},
		annotationPrefix + "includeOutboundPorts": func(v string) error {
			return assign(&c.IncludeOutboundPorts, v, parsePorts)
		},
		annotationPrefix + "excludeOutboundPorts": func(v string) error {
			return assign(&c.ExcludeOutboundPorts, v, parsePorts)
		},
		annotationPrefix + "excludeInterfaces": func(v string) error {
			return assign(&c.ExcludeInterfaces, v, parseInterfaces)
		},
		annotationPrefix + "kubevirtInterfaces": unsupported,
		annotationReroute:                       unsupported,
		annotationMode: func(v string) error {
			if m := Mode(v); m == Redirect || m == None {
				c.Mode = m
				return nil
			}
			return fmt.Errorf("supported are %s and %s", Redirect, None)
		},
	}
	var wrong []*AnnotationError
	for _, name := range slices.Sorted(maps.Keys(annotations)) {
		parse, known := parsers[name]
		if !known {
			if strings.HasPrefix(name, annotationPrefix) {
				wrong = append(wrong, &AnnotationError{name, annotations[name], "there is no such annotation; known are " + knownNames(parsers)})
			}
			continue
		}
		if err := parse(annotations[name]); err != nil {
			wrong = append(wrong, &AnnotationError{name, annotations[name], err.Error()})
		}
	}
	return c, wrong
}

// Annotations names every annotation that FromAnnotations reads.
func Annotations() []string {
	names := []string{annotationMode, annotationReroute}
	for _, n := range []string{
		"includeOutboundIPRanges", "excludeOutboundIPRanges", "includeInboundPorts", "excludeInboundPorts",
		"includeOutboundPorts", "excludeOutboundPorts", "excludeInterfaces", "kubevirtInterfaces",
	} {
		names = append(names, annotationPrefix+n)
	}
	return names
}

func knownNames(parsers map[string]func(string) error) string {
	var names []string
	for name := range parsers {
		if rest, ok := strings.CutPrefix(name, annotationPrefix); ok {
			names = append(names, rest)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

func unsupported(string) error {
	return fmt.Errorf("redirecting the traffic of virtual machines is not supported")
}

func assign[T any](to *T, value string, parse func(string) (T, error)) error {
	v, err := parse(value)
	if err == nil {
		*to = v
	}
	return err
}

// items splits a comma-separated list; an empty value is an empty list.
func items(value string) []string {
	if strings.TrimSpace(value) == "" {
		return nil
	}
	list := strings.Split(value, ",")
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	return list
}

func parsePorts(value string) ([]uint16, error) {
	var ports []uint16
	for _, item := range items(value) {
		n, err := strconv.ParseUint(item, 10, 16)
		if err != nil || n == 0 {
			return nil, fmt.Errorf("%q is not a port between 1 and 65535", item)
		}
		ports = append(ports, uint16(n))
	}
	return union(nil, ports), nil
}

func parsePortsOrAll(value string) (Ports, error) {
	if strings.TrimSpace(value) == "*" {
		return Ports{All: true}, nil
	}
	list, err := parsePorts(value)
	return Ports{List: list}, err
}

func parseRanges(value string) ([]netip.Prefix, error) {
	var ranges []netip.Prefix
	for _, item := range items(value) {
		p, err := netip.ParsePrefix(item)
		if err != nil {
			return nil, fmt.Errorf("%q is not an address range such as 10.0.0.0/8", item)
		}
		ranges = append(ranges, p.Masked())
	}
	return ranges, nil
}

func parseRangesOrAll(value string) (Ranges, error) {
	if strings.TrimSpace(value) == "*" {
		return Ranges{All: true}, nil
	}
	list, err := parseRanges(value)
	return Ranges{List: list}, err
}

func parseInterfaces(value string) ([]string, error) {
	names := items(value)
	for _, name := range names {
		if name == "" || len(name) > 15 || strings.ContainsAny(name, " /\t") {
			return nil, fmt.Errorf("%q is not the name of a network interface", name)
		}
	}
	return names, nil
}

// union returns the ports of both, sorted, each once.
func union(a, b []uint16) []uint16 {
	all := append(slices.Clone(a), b...)
	slices.Sort(all)
	return slices.Compact(all)
}
