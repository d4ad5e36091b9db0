package pod

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// What programs say when they cannot listen, and the numbers in it.
var (
	inUse   = regexp.MustCompile(`(?i)address (?:already )?in use|EADDRINUSE`)
	numbers = regexp.MustCompile(`[:\s](\d{2,5})(?:[^\d.]|$)`)
)

// explainPorts says why the container could not listen on one of its ports, or
// is not found on it; "" when there is nothing to say.
func (c *container) explainPorts() string {
	box := c.pod.sandbox()
	if box == nil {
		return ""
	}
	var ports []uint16
	for _, p := range c.spec.Ports {
		ports = append(ports, uint16(p.ContainerPort))
	}
	return box.Explain(append(ports, portsIn(c.lastLines(5), ports)...))
}

// portsIn are the numbers in output's complaints that may be ports, beside those
// known.
func portsIn(output string, known []uint16) []uint16 {
	var all []uint16
	for line := range strings.Lines(output) {
		if !inUse.MatchString(line) {
			continue
		}
		for _, found := range numbers.FindAllStringSubmatch(line, -1) {
			n, err := strconv.ParseUint(found[1], 10, 16)
			if p := uint16(n); err == nil && !slices.Contains(known, p) && !slices.Contains(all, p) {
				all = append(all, p)
			}
		}
	}
	return all
}
