package snapshot

import (
	"slices"
	"strconv"
	"strings"
)

// Metadata is static metadata: namespace -> JSON-like values, nil for none.
// Values are nil, bool, float64, string, []any and map[string]any; they must not be changed.
type Metadata struct {
	Filter map[string]map[string]any
}

// Lookup walks to a value below a namespace.
func (m *Metadata) Lookup(namespace string, path []string) (any, bool) {
	if m == nil {
		return nil, false
	}
	ns, ok := m.Filter[namespace]
	if !ok {
		return nil, false
	}
	return Walk(ns, path)
}

// Walk follows keys into nested objects.
func Walk(v any, path []string) (any, bool) {
	for _, k := range path {
		o, ok := v.(map[string]any)
		if !ok {
			return nil, false
		}
		if v, ok = o[k]; !ok {
			return nil, false
		}
	}
	return v, true
}

// MetadataMatch is a condition on dynamic metadata.
type MetadataMatch struct {
	Namespace string
	Path      []string
	Value     ValueMatch
	Invert    bool
}

// tokenClaims is the namespace and first key of claims of the verified token.
var tokenClaims = [2]string{"envoy.filters.http.jwt_authn", "payload"}

// noToken is why a condition on a claim does not hold when no token was verified.
const noToken = "the request has no verified token"

// claim is the claim that a condition looks at; "" when it looks at something else.
func (m *MetadataMatch) claim() string {
	if m.Namespace != tokenClaims[0] || len(m.Path) < 2 || m.Path[0] != tokenClaims[1] {
		return ""
	}
	return strings.Join(m.Path[1:], ".")
}

// OfToken reports whether the condition is one on a claim of the verified token.
func (m *MetadataMatch) OfToken() bool { return m.claim() != "" }

// AnyText is the example of a text where every text will do.
const AnyText = "anything"

// WantsClaim is the claim of a token that a condition asks for and a text that meets it;
// ok is false for conditions on other things, and for those that nothing in a text meets.
func (m *MetadataMatch) WantsClaim() (path []string, example string, ok bool) {
	if m.Invert || m.claim() == "" {
		return nil, "", false
	}
	example = m.Value.example()
	return m.Path[1:], example, example != ""
}

// subject is what a condition looks at, for people.
func (m *MetadataMatch) subject() string {
	if c := m.claim(); c != "" {
		return "claim " + c
	}
	return "metadata " + m.Namespace + " " + strings.Join(m.Path, ".")
}

// Is says what d has in the place that the condition looks at.
func (m *MetadataMatch) Is(d Dynamic) string {
	var v any
	ok := false
	if d != nil {
		v, ok = d.DynamicMetadata(m.Namespace, m.Path)
	}
	if ok {
		return m.subject() + " is " + string(AppendValue(nil, v))
	}
	if m.claim() != "" {
		if d == nil {
			return noToken
		}
		if _, verified := d.DynamicMetadata(tokenClaims[0], []string{tokenClaims[1]}); !verified {
			return noToken
		}
	}
	return m.subject() + " is missing"
}

// String is the condition for people: "claim groups exactly admin".
func (m *MetadataMatch) String() string {
	if m.Invert {
		return m.subject() + " not " + m.Value.Want()
	}
	return m.subject() + " " + m.Value.Want()
}

// ValueKind is the kind of a value match.
type ValueKind uint8

// Value kinds.
const (
	ValueNull ValueKind = iota
	ValueNumber
	ValueString
	ValueBool
	ValuePresent
	ValueList // one element matches
	ValueOr
)

// ValueMatch is a condition on a JSON-like value.
type ValueMatch struct {
	Kind     ValueKind
	From, To float64 // ValueNumber: From <= v < To, or v == From when Exact
	Exact    bool
	String   StringMatch
	Bool     bool         // ValueBool, ValuePresent: the wanted value
	Subs     []ValueMatch // ValueList: one; ValueOr: any
}

// Match evaluates the condition; present says whether there is a value.
func (m *ValueMatch) Match(v any, present bool) bool {
	switch m.Kind {
	case ValuePresent:
		return (present && v != nil) == m.Bool
	case ValueNull:
		return present && v == nil
	case ValueBool:
		b, ok := v.(bool)
		return ok && b == m.Bool
	case ValueNumber:
		n, ok := v.(float64)
		if !ok {
			return false
		}
		if m.Exact {
			return n == m.From
		}
		return m.From <= n && n < m.To
	case ValueString:
		s, ok := v.(string)
		return ok && m.String.MatchString(s)
	case ValueList:
		l, ok := v.([]any)
		if !ok {
			return false
		}
		for _, e := range l {
			if m.Subs[0].Match(e, true) {
				return true
			}
		}
		return false
	default:
		for i := range m.Subs {
			if m.Subs[i].Match(v, present) {
				return true
			}
		}
		return false
	}
}

// example is a text that the condition holds for; "" when there is none.
func (m *ValueMatch) example() string {
	switch m.Kind {
	case ValueString:
		if m.String.Kind == StringRegex && m.String.Value == ".+" {
			return AnyText
		}
		return m.String.Example()
	case ValuePresent:
		if m.Bool {
			return AnyText
		}
	case ValueOr:
		for i := range m.Subs {
			if s := m.Subs[i].example(); s != "" {
				return s
			}
		}
	default: // numbers, lists and null are no texts
	}
	return ""
}

// Want is what is wanted, for people.
func (m *ValueMatch) Want() string {
	switch m.Kind {
	case ValueNull:
		return "null"
	case ValueNumber:
		if m.Exact {
			return strconv.FormatFloat(m.From, 'f', -1, 64)
		}
		return strconv.FormatFloat(m.From, 'f', -1, 64) + " to " + strconv.FormatFloat(m.To, 'f', -1, 64)
	case ValueString:
		if m.String.Kind == StringRegex && m.String.Value == ".+" {
			return "any text"
		}
		return m.String.String()
	case ValueBool:
		return strconv.FormatBool(m.Bool)
	case ValuePresent:
		if m.Bool {
			return "any value"
		}
		return "no value"
	case ValueList:
		return m.Subs[0].Want()
	default:
		var all []string
		for i := range m.Subs {
			if s := m.Subs[i].Want(); !slices.Contains(all, s) {
				all = append(all, s)
			}
		}
		return strings.Join(all, " or ")
	}
}

// AppendValue writes a value as formats do: strings bare, others as JSON.
func AppendValue(dst []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(dst, "null"...)
	case string:
		return append(dst, v...)
	default:
		return appendJSON(dst, v)
	}
}

func appendJSON(dst []byte, v any) []byte {
	switch v := v.(type) {
	case bool:
		return strconv.AppendBool(dst, v)
	case float64:
		return strconv.AppendFloat(dst, v, 'f', -1, 64)
	case string:
		return AppendQuoted(dst, v)
	case []any:
		dst = append(dst, '[')
		for i, e := range v {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendJSON(dst, e)
		}
		return append(dst, ']')
	case map[string]any:
		dst = append(dst, '{')
		for i, k := range sortedKeys(v) {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(AppendQuoted(dst, k), ':')
			dst = appendJSON(dst, v[k])
		}
		return append(dst, '}')
	default:
		return append(dst, "null"...)
	}
}
