package xdsgen

import (
	"fmt"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/mesh"
)

// Codes of what generators find.
const (
	codeUnsupported    = "MSH0201" // a field that is not supported
	codeNoDestination  = "MSH0202" // a route leads to nothing
	codeDomainTaken    = "MSH0203" // a host is already that of another object
	codePortConflict   = "MSH0204" // a port is already used otherwise
	codeBadCertificate = "MSH0205" // a certificate is missing or not usable
	codeBadValue       = "MSH0206" // a value that cannot be used
)

// findings collects Diagnostics of one generator call.
type findings struct{ list []diag.Diagnostic }

// source is an object that findings are about.
type source struct {
	origin mesh.Origin
	fields mesh.Fields // may be nil
}

func (f *findings) add(code string, s source, field, effect, fix, format string, args ...any) {
	pos := s.origin.Pos
	if s.fields != nil && field != "" {
		if p := s.fields.Lookup(field); !p.IsZero() {
			pos = p
		}
	}
	f.list = append(f.list, diag.Diagnostic{
		Code: code, Severity: diag.Error, Object: s.origin.Ref(), Pos: pos, Field: field,
		Message: fmt.Sprintf(format, args...), Effect: effect, Fix: fix,
	})
}

// warn is add with lesser severity.
func (f *findings) warn(code string, s source, field, effect, fix, format string, args ...any) {
	f.add(code, s, field, effect, fix, format, args...)
	f.list[len(f.list)-1].Severity = diag.Warning
}
